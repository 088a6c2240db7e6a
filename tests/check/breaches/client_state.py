"""I7. Clients that know something else than the rows."""

from collections.abc import Mapping

import msgspec

from backend.check import push_log as reading
from backend.push import push_log as push
from tests.check.breaches.breach import FREE_TICKET, Breach, sql
from tests.check.market import Market


async def tell(market: Market, channel: str, event: str, **body: object) -> None:
    """A message as the publisher's script appends it."""
    message = push.Message((channel,), event, msgspec.json.encode(body).decode())
    await market.redis.xadd(
        push.STREAM, {"n": 1, "m": push.pack([message]), "s": push.pack([1, 1])}
    )


async def newest(market: Market, channel: str) -> Mapping[str, object]:
    """The data of the newest message on the first channel of this kind."""
    log = await reading.read(market.redis)
    return next(m.body for m in reading.messages(log) if m.channel.startswith(channel))


async def tell_of_the_future(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["version"] += 5
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def tell_another_status(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["status"] = "held" if ticket["status"] != "held" else "sold"
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


async def count_wrongly(market: Market) -> None:
    show = dict((await newest(market, "shows"))["show"])  # type: ignore[call-overload]
    await tell(market, "shows", "show.availability", show=show | {"sold": show["sold"] + 1})


async def change_untold(market: Market) -> None:
    await market.change(
        "ticket",
        "price = price + 1, updated_at = now() - interval '30 seconds'",
        "status = 'available'",
        event="ticket.updated",
    )


async def forget_a_message(market: Market) -> None:
    ticket_id = await market.rows.fetchval(
        f"update tickets.tickets set updated_at = now() - interval '30 seconds' where {FREE_TICKET} returning id"
    )
    entries = await market.redis.xrange(push.STREAM)
    await market.redis.delete(push.STREAM)
    for entry_id, fields in entries:
        told = [m for m in push.read_entry(entry_id, fields).messages if m.key != str(ticket_id)]
        await market.redis.xadd(push.STREAM, fields | {b"m": push.pack(told)}, id=entry_id)


BREACHES = [
    Breach(
        "I7", "a ticket changed and nobody was told", change_untold, "clients were told of version"
    ),
    Breach("I7", "a message is lost", forget_a_message, "nobody was told that ticket"),
    Breach(
        "I7", "clients know a later version", tell_of_the_future, "clients were told of version"
    ),
    Breach(
        "I7", "clients see another status", tell_another_status, "clients were told that version"
    ),
    Breach("I7", "clients see other counts", count_wrongly, "clients were told that show"),
    Breach(
        "I7",
        "the notifier stands still",
        sql("update push.notifier set position = 0"),
        "the notifier has told up to",
    ),
]
