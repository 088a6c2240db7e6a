"""I5. Events that are lost, skipped, or never committed."""

from uuid import uuid4

from backend.events.stream import STREAM, EventStream, Position
from tests.check.breaches.breach import Breach, sql
from tests.check.market import Market
from workers import expiration


async def drop_an_entry(market: Market) -> None:
    entries = await market.redis.xrange(STREAM)
    await market.redis.xdel(STREAM, entries[len(entries) // 2][0])


async def lose_the_stream(market: Market) -> None:
    await market.redis.delete(STREAM)


async def lose_the_tail(market: Market) -> None:
    """The stream's own last id goes back with it, as after a cut of Redis's append-only file."""
    entries = await market.redis.xrange(STREAM)
    await market.redis.xdel(STREAM, *(entry_id for entry_id, _ in entries[-3:]))
    await market.redis.execute_command("XSETID", STREAM, entries[-4][0])  # type: ignore[no-untyped-call]


async def append_what_never_committed(market: Market) -> None:
    stream = EventStream(market.redis)
    last = await stream.last()
    body = (
        b'{"id":"%s","type":"user.registered","occurred_at":"2999-01-01T00:00:00Z"}'
        % str(uuid4()).encode()
    )
    await stream.append(last, [(Position(last.epoch, last.position + 1), body)])


async def append_nonsense(market: Market) -> None:
    stream = EventStream(market.redis)
    last = await stream.last()
    await stream.append(last, [(Position(last.epoch, last.position + 1), b"[")])


async def trim_what_is_pending(market: Market) -> None:
    first, second = (await market.redis.xrange(STREAM, count=2))[:2]
    last = await EventStream(market.redis).last()
    await market.redis.xgroup_setid(STREAM, expiration.CONSUMER, "0")
    await market.redis.xreadgroup(expiration.CONSUMER, "dead", {STREAM: ">"}, count=1)
    await market.redis.xgroup_setid(STREAM, expiration.CONSUMER, str(last))
    await market.redis.xtrim(STREAM, minid=second[0], approximate=False)
    assert first[0] != second[0]


BREACHES = [
    Breach(
        "I5",
        "a row of the outbox is lost",
        sql("delete from events.outbox where type = 'user.registered'"),
        "which is not in the outbox",
    ),
    Breach(
        "I5",
        "a position was skipped",
        sql("update events.relay set position = position + 1"),
        "though",
    ),
    Breach(
        "I5",
        "an event waits",
        sql(
            "insert into events.outbox (type, subject, version, data, occurred_at)"
            " values ('user.registered', gen_random_uuid(), 1, '{}', now() - interval '1 minute')",
        ),
        "waits in the outbox",
    ),
    Breach(
        "I5",
        "another event has its place",
        sql("update events.outbox set event_id = gen_random_uuid() where type = 'user.registered'"),
        "but the outbox has",
    ),
    Breach("I5", "an entry of the stream is lost", drop_an_entry, "is gone from the stream"),
    Breach("I5", "the stream is lost", lose_the_stream, "the stream is empty"),
    Breach(
        "I5",
        "the tail of the stream is lost",
        lose_the_tail,
        "is not on the stream 5 seconds after",
    ),
    Breach(
        "I5",
        "the stream tells what never committed",
        append_what_never_committed,
        "is not in the outbox",
    ),
    Breach("I5", "the stream has what is no event", append_nonsense, "is no event"),
    Breach(
        "I5",
        "a pending entry was trimmed",
        trim_what_is_pending,
        "was trimmed while consumer expiration",
    ),
]
