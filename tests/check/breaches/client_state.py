"""I7: push messages that differ from the rows."""

from collections.abc import Mapping

import msgspec

from backend.check import push_log as push_log_check
from backend.push import push_log as push
from tests.check.breaches.breach import FREE_TICKET, Breach, sql
from tests.check.seeded_system import SeededSystem


async def publish(seeded: SeededSystem, channel: str, event: str, **body: object) -> None:
    """Append a message to the push log in the format of the publisher's script."""
    message = push.Message((channel,), event, msgspec.json.encode(body).decode())
    await seeded.redis.xadd(
        push.STREAM, {"n": 1, "m": push.pack([message]), "s": push.pack([1, 1])}
    )


async def newest(seeded: SeededSystem, channel: str) -> Mapping[str, object]:
    """Return the data of the newest message on a channel with this prefix."""
    log = await push_log_check.read(seeded.redis)
    return next(
        message.body
        for message in push_log_check.messages(log)
        if message.channel.startswith(channel)
    )


async def publish_a_later_version(seeded: SeededSystem) -> None:
    ticket = dict((await newest(seeded, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["version"] += 5
    await publish(seeded, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def publish_another_status(seeded: SeededSystem) -> None:
    ticket = dict((await newest(seeded, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["status"] = "held" if ticket["status"] != "held" else "sold"
    await publish(seeded, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def publish_wrong_counts(seeded: SeededSystem) -> None:
    show = dict((await newest(seeded, "shows"))["show"])  # type: ignore[call-overload]
    await publish(seeded, "shows", "show.availability", show=show | {"sold": show["sold"] + 1})


async def change_without_publishing(seeded: SeededSystem) -> None:
    await seeded.change(
        "ticket",
        "price = price - 1, updated_at = now() - interval '30 seconds'",
        "status = 'available'",
        event="ticket.updated",
    )


async def delete_a_message(seeded: SeededSystem) -> None:
    ticket_id = await seeded.rows.fetchval(
        "update tickets.tickets set updated_at = now() - interval '30 seconds' where"
        f" {FREE_TICKET} returning id"
    )
    entries = await seeded.redis.xrange(push.STREAM)
    await seeded.redis.delete(push.STREAM)
    for entry_id, fields in entries:
        kept = [
            message
            for message in push.read_entry(entry_id, fields).messages
            if message.key != str(ticket_id)
        ]
        await seeded.redis.xadd(push.STREAM, fields | {b"m": push.pack(kept)}, id=entry_id)


BREACHES = [
    Breach(
        "I7",
        "a change of a ticket is not published",
        change_without_publishing,
        "the newest message of ticket",
    ),
    Breach("I7", "a message is lost", delete_a_message, "but has no message"),
    Breach(
        "I7",
        "clients have a later version",
        publish_a_later_version,
        "the newest message of ticket",
    ),
    Breach("I7", "clients have another status", publish_another_status, "the message of ticket"),
    Breach("I7", "clients have other counts", publish_wrong_counts, "the newest message of show"),
    Breach(
        "I7",
        "the counters of a show have a ticket that does not exist",
        sql(
            "insert into tickets.count_changes"
            " select id, 'EUR', 4500, null, 1, 0, 0, 0, '' from tickets.shows limit 1"
        ),
        "the counters of show",
    ),
    Breach(
        "I7",
        "the counters of prices are lost",
        sql(
            "select tickets.fold_counts(100000)",
            "delete from tickets.price_counts",
        ),
        "the counters of show",
    ),
    Breach(
        "I7",
        "the counters of sections are lost",
        sql(
            "select tickets.fold_counts(100000)",
            "delete from tickets.section_counts",
        ),
        "the counters of section",
    ),
    Breach(
        "I7",
        "the counters of the prices of sections are lost",
        sql(
            "select tickets.fold_counts(100000)",
            "delete from tickets.section_price_counts",
        ),
        "the counters of section",
    ),
    Breach(
        "I7",
        "the notifier is stuck",
        sql("update push.notifier set position = 0"),
        "and has not published event",
    ),
]
