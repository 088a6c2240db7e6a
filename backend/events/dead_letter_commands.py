"""The dead letters for people: a line each, and sending them back."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from backend.events.dead_letters import (
    DeadLetter,
    all_letters,
    count_letters,
    find_letters,
    letters_of,
    redrive,
)
from backend.kernel.redis import open_redis


async def show_count(redis_url: str) -> None:
    """Print how many letters there are, and nothing else."""
    redis = open_redis(redis_url, name="gittix-dead")
    try:
        Console().print(await count_letters(redis), highlight=False)
    finally:
        await redis.aclose()


async def show_letters(redis_url: str) -> None:
    """Print every letter, oldest first, its id in front."""
    redis = open_redis(redis_url, name="gittix-dead")
    console = Console()
    empty = True
    try:
        async for letter in all_letters(redis):
            console.print(_line(letter), soft_wrap=True)
            empty = False
    finally:
        await redis.aclose()
    if empty:
        Console(stderr=True).print("no dead letters")


async def send_back(redis_url: str, ids: Sequence[str], *, consumer: str | None) -> None:
    """Send back the letters of these ids, or without any all of a consumer's or everyone's. Raises DeadLetterError."""
    redis = open_redis(redis_url, name="gittix-redrive")
    try:
        letters = await (find_letters(redis, ids) if ids else letters_of(redis, consumer))
        await redrive(redis, letters)
    finally:
        await redis.aclose()
    Console().print(_sent(letters), highlight=False, soft_wrap=True)


def _sent(letters: Sequence[DeadLetter]) -> str:
    if not letters:
        return "nothing to send back"
    to = Counter(letter.consumer for letter in letters)
    return f"sent back {len(letters)}: " + ", ".join(
        f"{count} to {name}" for name, count in sorted(to.items())
    )


def _line(letter: DeadLetter) -> Text:
    about = ("not an event", "red")
    subject = ""
    if letter.event is not None:
        about = (letter.event.type, "yellow")
        subject = f"  {letter.event.envelope.subject}"
    return Text.assemble(
        letter.id,
        f"  {letter.consumer:<10}",
        (f"  {letter.entry:<10}", "dim"),
        "  ",
        about,
        subject,
        (f"  {letter.buried_at:%Y-%m-%d %H:%M:%S}Z", "dim"),
        f"  {letter.reason}",
    )
