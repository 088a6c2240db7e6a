"""The commands `gittix events dead` and `redrive`: print the dead letters, and redrive them."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from backend.events.dead_letters import (
    DeadLetter,
    all_dead_letters,
    count_dead_letters,
    dead_letters_of,
    find_dead_letters,
    redrive,
)
from backend.kernel.redis import open_redis


async def print_count(redis_url: str) -> None:
    """Print only the number of dead letters."""
    redis = open_redis(redis_url, name="gittix-dead")
    try:
        Console().print(await count_dead_letters(redis), highlight=False)
    finally:
        await redis.aclose()


async def print_dead_letters(redis_url: str) -> None:
    """Print each dead letter on one line that starts with its id, oldest first."""
    redis = open_redis(redis_url, name="gittix-dead")
    console = Console()
    empty = True
    try:
        async for letter in all_dead_letters(redis):
            console.print(_line(letter), soft_wrap=True)
            empty = False
    finally:
        await redis.aclose()
    if empty:
        Console(stderr=True).print("no dead letters")


async def redrive_dead_letters(redis_url: str, ids: Sequence[str], *, consumer: str | None) -> None:
    """Redrive these dead letters; without ids, all of one consumer or of every consumer.

    Raises DeadLetterError.
    """
    redis = open_redis(redis_url, name="gittix-redrive")
    try:
        letters = await (find_dead_letters(redis, ids) if ids else dead_letters_of(redis, consumer))
        await redrive(redis, letters)
    finally:
        await redis.aclose()
    Console().print(_sent(letters), highlight=False, soft_wrap=True)


def _sent(letters: Sequence[DeadLetter]) -> str:
    if not letters:
        return "no dead letters to redrive"
    to = Counter(letter.consumer for letter in letters)
    noun = "dead letter" if len(letters) == 1 else "dead letters"
    return f"{len(letters)} {noun} redriven: " + ", ".join(
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
        (f"  {letter.added_at:%Y-%m-%d %H:%M:%S}Z", "dim"),
        f"  {letter.reason}",
    )
