"""I5: events that are lost, skipped, or never committed."""

from uuid import uuid4

from backend.events.stream import STREAM, EntryId, EventStream
from tests.check.breaches.breach import Breach, sql
from tests.check.seeded_system import SeededSystem
from workers import expiration


async def drop_an_entry(seeded: SeededSystem) -> None:
    entries = await seeded.redis.xrange(STREAM)
    await seeded.redis.xdel(STREAM, entries[len(entries) // 2][0])


async def lose_the_stream(seeded: SeededSystem) -> None:
    await seeded.redis.delete(STREAM)


async def lose_the_tail(seeded: SeededSystem) -> None:
    """Remove the last entries and reset the last id, as after a cut of the append-only file."""
    entries = await seeded.redis.xrange(STREAM)
    await seeded.redis.xdel(STREAM, *(entry_id for entry_id, _ in entries[-3:]))
    last_id = entries[-4][0]
    await seeded.redis.execute_command("XSETID", STREAM, last_id)  # type: ignore[no-untyped-call]


async def append_an_uncommitted_event(seeded: SeededSystem) -> None:
    stream = EventStream(seeded.redis)
    last = await stream.last()
    body = (
        b'{"id":"%s","type":"user.registered","occurred_at":"2999-01-01T00:00:00Z"}'
        % str(uuid4()).encode()
    )
    await stream.append(last, [(EntryId(last.epoch, last.position + 1), body)])


async def append_a_malformed_entry(seeded: SeededSystem) -> None:
    stream = EventStream(seeded.redis)
    last = await stream.last()
    await stream.append(last, [(EntryId(last.epoch, last.position + 1), b"[")])


async def trim_a_pending_entry(seeded: SeededSystem) -> None:
    first, second = (await seeded.redis.xrange(STREAM, count=2))[:2]
    last = await EventStream(seeded.redis).last()
    await seeded.redis.xgroup_setid(STREAM, expiration.CONSUMER, "0")
    await seeded.redis.xreadgroup(expiration.CONSUMER, "dead", {STREAM: ">"}, count=1)
    await seeded.redis.xgroup_setid(STREAM, expiration.CONSUMER, str(last))
    await seeded.redis.xtrim(STREAM, minid=second[0], approximate=False)
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
        "was assigned",
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
        "another event has its position",
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
        "the stream has an event that never committed",
        append_an_uncommitted_event,
        "is not in the outbox",
    ),
    Breach("I5", "the stream has a malformed entry", append_a_malformed_entry, "is not an event"),
    Breach(
        "I5",
        "a pending entry was trimmed",
        trim_a_pending_entry,
        "was trimmed while consumer expiration",
    ),
]
