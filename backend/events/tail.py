"""The command `gittix events tail`: print each event of the stream on one line."""

import asyncio

from rich.console import Console
from rich.text import Text

from backend.events.catalogue import Event, decode_data
from backend.events.stream import STREAM, read_event
from backend.kernel.redis import open_redis

BLOCK_MS = 1000
COLOURS = {
    "ticket": "cyan",
    "order": "yellow",
    "payment": "green",
    "show": "magenta",
    "user": "blue",
}


async def tail(redis_url: str, *, count: int, follow: bool) -> None:
    """Print the newest `count` events; with `follow`, also each new event as it arrives."""
    redis = open_redis(redis_url, name="gittix-tail")
    console = Console()
    try:
        newest = await redis.xrevrange(STREAM, count=max(count, 1))
        for entry_id, fields in reversed(newest[:count]):
            show(console, entry_id, fields)
        last = newest[0][0] if newest else b"0-0"
        while follow:
            streams = await redis.xread({STREAM: last}, count=100, block=BLOCK_MS)
            for entry_id, fields in streams[0][1] if streams else []:
                show(console, entry_id, fields)
                last = entry_id
            await asyncio.sleep(0)
    finally:
        await redis.aclose()


def show(console: Console, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
    event = read_event(entry_id, fields)
    if event is None:
        console.print(f"{entry_id.decode()}  not an event")
        return
    console.print(_line(entry_id.decode(), event), soft_wrap=True)


def _line(entry_id: str, event: Event) -> Text:
    envelope = event.envelope
    subject_kind, _, _ = envelope.type.partition(".")
    data = decode_data(event)
    about = " ".join(
        f"{name}={data[name]}"
        for name in ("status", "total", "amount", "price", "currency", "title")
        if data.get(name)
    )
    return Text.assemble(
        (f"{envelope.occurred_at:%H:%M:%S.%f}"[:12], "dim"),
        "  ",
        (f"{entry_id:<10}", "dim"),
        "  ",
        (f"{envelope.type:<18}", COLOURS.get(subject_kind, "")),
        f"  {envelope.subject}  v{envelope.version}  {about}",
    )
