"""Invariant I7: state shown to clients.

The counts of each show, which are kept in counters, equal a count of its tickets.

The push log keeps the newest message of each ticket and of each show's counts for about a minute. A
few seconds after the last change, that message must equal the row. The notifier must not be far
behind, with either push backend.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from backend.check.push_log import Message, PushLog, messages
from backend.check.result import LATE, MAX_VIOLATIONS, QUERY_SECONDS, Result, Unchecked
from backend.check.snapshot import Snapshot
from backend.events.stream import EntryId
from workers.notifier import READER, entry_id_of

State = dict[str, Any]

DESCRIPTION = (
    "the counters of each show equal a count of its tickets; in the push log, the newest message of"
    " each ticket and show equals its row; and the notifier keeps up"
)

LATE_EVENTS = f"""
    select o.position, o.event_id, o.type, o.occurred_at from events.outbox o
    where o.position > $1 and o.occurred_at < $2::timestamptz - {LATE} order by o.position
        limit {MAX_VIOLATIONS}
"""

# Tickets with a message, and tickets that changed while the log is complete (since $2), except in
# the last seconds.
TICKETS = f"""
    select t.id, t.version, t.status, t.price, t.held_until, t.updated_at,
           t.updated_at between $2::timestamptz + {LATE} and $3::timestamptz - {LATE} as is_stale
    from tickets.tickets t
    where t.id = any ($1) or t.updated_at between $2::timestamptz + {LATE}
        and $3::timestamptz - {LATE}
"""

# A hold that ends changes the counts by the clock, before its row changes and a message is
# published. So a show with holds that end about now is not compared.
SHOWS = f"""
    select s.id, a.version, a.available, a.held, a.sold,
           changed.at between $2::timestamptz + {LATE} and $3::timestamptz - {LATE} as is_stale,
           changed.ending > 0 as has_ending_holds
    from tickets.shows s,
         lateral tickets.availability(s.id) a,
         lateral (
             select greatest(max(t.updated_at), s.updated_at) as at,
                    count(*) filter (where t.status = 'held'
                        and t.held_until < now() + {LATE}) as ending
             from (
                 select updated_at, status, held_until from tickets.tickets
                 where show_id = s.id and not hidden
                 union all
                 select updated_at, status, held_until from tickets.tickets
                 where show_id = s.id and hidden
             ) t
         ) changed
    where s.id = any ($1)
"""
# Reading the tickets of a show is slow, so the counts of only so many shows are compared.
MAX_SHOWS = 100

# The counters of each show, and a fresh count of its tickets.
COUNTED_SQL = "select count(*) from tickets.shows"
MISCOUNTED_SQL = """
    with fresh as (
        select t.show_id, t.currency, sum(t.version) as version,
               count(*) filter (where not t.hidden and f.free) as available,
               count(*) filter (where t.status = 'reserved'
                   or (not t.hidden and t.status = 'held' and not f.free)) as held,
               count(*) filter (where t.status = 'sold') as sold,
               min(t.price) filter (where not t.hidden and f.free) as from_price,
               min(t.held_until) filter (where not t.hidden and not f.free) as next_free_at
        from tickets.tickets t
        cross join lateral (
            select tickets.is_free(t.status, t.held_until, now()) as free
        ) f
        group by t.show_id, t.currency
    ), expected as (
        select s.id,
               (coalesce(sum(f.available), 0), coalesce(sum(f.held), 0), coalesce(sum(f.sold), 0),
                (array_agg(f.from_price order by f.available desc, f.currency))[1],
                (array_agg(f.currency order by f.available desc, f.currency))[1],
                (select coalesce(json_agg(json_build_object(
                    'currency', o.currency, 'price', o.from_price
                ) order by o.available desc, o.currency), '[]')
                 from (select * from fresh o where o.show_id = s.id and o.available > 0
                       order by o.available desc, o.currency limit 5) o),
                min(f.next_free_at), s.version + coalesce(sum(f.version), 0))::text as counts
        from tickets.shows s left join fresh f on f.show_id = s.id
        group by s.id
    )
    select format('the counters of show %s have %s, but a count of its tickets has %s', e.id,
        counted.counts, e.counts)
    from expected e
    cross join lateral (
        select (a.available, a.held, a.sold, a.from_price, a.currency, a.from_prices,
                a.next_free_at, a.version)::text as counts
        from tickets.availability(e.id) a
    ) counted
    where counted.counts <> e.counts
"""

# The counters of each section and price, and a fresh count. The price is 0 in those of sections.
COUNTED_SECTIONS_SQL = "select count(*) from tickets.section_counts"
MISCOUNTED_SECTIONS_SQL = """
    with counted as (
        select c.show_id, c.section, c.currency, c.price, sum(c.available) as available,
               sum(c.held) as held, sum(c.sold) as sold
        from (
            select show_id, section, currency, 0 as price, available, held, sold
            from tickets.section_counts
            union all
            select show_id, section, currency, 0, available, held, sold
            from tickets.count_changes
            union all
            select show_id, section, currency, price, available, 0, 0
            from tickets.section_price_counts
            union all
            select show_id, section, currency, price, available, 0, 0 from tickets.count_changes
        ) c
        group by c.show_id, c.section, c.currency, c.price
    ), expected as (
        select t.show_id, t.section, t.currency, t.price,
               count(*) filter (where t.status = 'available' and not t.hidden) as available,
               count(*) filter (where t.price = 0 and (
                   t.status = 'reserved' or (t.status = 'held' and not t.hidden))) as held,
               count(*) filter (where t.price = 0 and t.status = 'sold') as sold
        from (
            select show_id, coalesce(section, '') as section, currency, price, status, hidden
            from tickets.tickets
            union all
            select show_id, coalesce(section, ''), currency, 0, status, hidden
            from tickets.tickets
        ) t
        group by t.show_id, t.section, t.currency, t.price
    )
    select format('the counters of section "%s" of show %s have %s, but a count of its tickets has'
        ' %s', section, show_id, counts.counted, counts.expected)
    from counted c
    full join expected e using (show_id, section, currency, price)
    cross join lateral (
        select (coalesce(c.available, 0), coalesce(c.held, 0), coalesce(c.sold, 0))::text
                   as counted,
               (coalesce(e.available, 0), coalesce(e.held, 0), coalesce(e.sold, 0))::text
                   as expected
    ) counts
    where counts.counted <> counts.expected
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNTED_SQL, MISCOUNTED_SQL)
    await result.run(snapshot.connection, COUNTED_SECTIONS_SQL, MISCOUNTED_SECTIONS_SQL)
    if isinstance(snapshot.event_stream, Unchecked):
        result.unchecked.append(snapshot.event_stream)
    else:
        result.violations += await _late_event(snapshot, snapshot.event_stream.dead_lettered)
    if isinstance(snapshot.push_log, Unchecked):
        if snapshot.push_log not in result.unchecked:
            result.unchecked.append(snapshot.push_log)
        return
    published = messages(snapshot.push_log)
    result.examined += len(published)
    result.violations += await _tickets(snapshot, snapshot.push_log, published)
    result.violations += await _shows(snapshot, snapshot.push_log, published)


async def _late_event(
    snapshot: Snapshot, dead_lettered: frozenset[tuple[str, EntryId]]
) -> list[str]:
    """Return a sentence for the oldest late event that is not a dead letter of the notifier."""
    state = await snapshot.connection.fetchrow(
        """
        select n.position as push_position, r.epoch, r.epoch_start
        from push.notifier n, events.relay r
        """
    )
    assert state is not None
    reached = entry_id_of(state["push_position"])
    after = reached.position if reached.epoch == state["epoch"] else state["epoch_start"]
    if reached.epoch > state["epoch"]:
        return []
    waiting = await snapshot.connection.fetch(
        LATE_EVENTS, after, snapshot.began, timeout=QUERY_SECONDS
    )
    return [
        f"the notifier is at {reached} and has not published event {row['event_id']}"
        f" ({row['type']}) of {row['occurred_at']}"
        for row in waiting
        if (READER, EntryId(state["epoch"], row["position"])) not in dead_lettered
    ][:1]


def _newest(states: Iterable[State]) -> dict[UUID, State]:
    """Return the highest version of each state: a client ignores an older one that comes later."""
    newest: dict[UUID, State] = {}
    for state in states:
        key = UUID(state["id"])
        if key not in newest or state["version"] > newest[key]["version"]:
            newest[key] = state
    return newest


async def _tickets(snapshot: Snapshot, log: PushLog, published: list[Message]) -> list[str]:
    newest = _newest(
        message.body["ticket"]
        for message in published
        if message.channel.startswith("show-") and "ticket" in message.body
    )
    rows = await snapshot.connection.fetch(
        TICKETS, list(newest), log.since, snapshot.began, timeout=QUERY_SECONDS
    )
    return [sentence for row in rows if (sentence := _ticket_differs(row, newest.get(row["id"])))][
        :MAX_VIOLATIONS
    ]


def _ticket_differs(row: Any, message: State | None) -> str | None:
    ticket = f"ticket {row['id']}"
    if message is None:
        return f"{ticket} is {row['status']} at version {row['version']}, but has no message"
    if message["version"] > row["version"]:
        return (
            f"the newest message of {ticket} has version {message['version']},"
            f" but the row has {row['version']}"
        )
    if message["version"] < row["version"]:
        if not row["is_stale"]:
            return None
        return (
            f"the newest message of {ticket} has version {message['version']},"
            f" but the row has {row['version']} since {row['updated_at']}"
        )
    if (message["status"], message["price"]) != (row["status"], row["price"]):
        return (
            f"the message of {ticket} at version {row['version']} has {message['status']} for"
            f" {message['price']}, but the row has {row['status']} for {row['price']}"
        )
    return None


async def _shows(snapshot: Snapshot, log: PushLog, published: list[Message]) -> list[str]:
    newest = _newest(
        message.body["show"]
        for message in published
        if message.channel == "shows" and "show" in message.body
    )
    wanted = list(newest)[:MAX_SHOWS]
    rows = await snapshot.connection.fetch(
        SHOWS, wanted, log.since, snapshot.began, timeout=QUERY_SECONDS
    )
    return [sentence for row in rows if (sentence := _show_differs(row, newest[row["id"]]))]


def _show_differs(row: Any, message: State) -> str | None:
    if message["version"] != row["version"]:
        if message["version"] < row["version"] and not row["is_stale"]:
            return None
        return (
            f"the newest counts of show {row['id']} have version {message['version']},"
            f" but the show has {row['version']}"
        )
    counts = {name: row[name] for name in ("available", "held", "sold")}
    if not row["has_ending_holds"] and counts != {name: message[name] for name in counts}:
        shown = ", ".join(f"{message[name]} {name}" for name in counts)
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"the newest message of show {row['id']} has {shown}, but the rows have {found}"
    return None
