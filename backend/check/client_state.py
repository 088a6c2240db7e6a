"""I7. What clients were told last of a ticket or of a show's counts is in the push log for about a minute; after a few
seconds of quiet it must be what the rows say. And the notifier, whichever way its messages go, may not be far behind.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from backend.check.evidence import Evidence
from backend.check.finding import LATE, MOST, QUERY_SECONDS, Finding, Unseen
from backend.check.push_log import Message, PushLog, messages
from backend.events.stream import Position
from workers.notifier import READER, log_position_of

State = dict[str, Any]

SAYS = "the newest message of each ticket and show in the push log is its row's state, and the notifier keeps up"

UNTOLD = f"""
    select o.position, o.event_id, o.type, o.occurred_at from events.outbox o
    where o.position > $1 and o.occurred_at < $2::timestamptz - {LATE} order by o.position limit {MOST}
"""

# Tickets that were told of, and those that changed since $2, from which on the log is complete, but not just now.
TICKETS = f"""
    select t.id, t.version, t.status, t.price, t.held_until, t.updated_at,
           t.updated_at between $2::timestamptz + {LATE} and $3::timestamptz - {LATE} as is_stale
    from tickets.tickets t
    where t.id = any ($1) or t.updated_at between $2::timestamptz + {LATE} and $3::timestamptz - {LATE}
"""

SHOWS = f"""
    select s.id, a.version, a.available, a.held, a.sold,
           changed.at between $2::timestamptz + {LATE} and $3::timestamptz - {LATE} as is_stale,
           changed.lapsed > 0 as is_lapsing
    from tickets.shows s,
         lateral tickets.availability(s.id) a,
         lateral (
             select greatest(max(t.updated_at), s.updated_at) as at,
                    count(*) filter (where t.status = 'held' and t.held_until < now() + {LATE}) as lapsed
             from tickets.tickets t where t.show_id = s.id
         ) changed
    where s.id = any ($1)
"""
# Counting a show's tickets takes a while; so many shows are counted again.
MOST_SHOWS = 100


async def examine(evidence: Evidence, finding: Finding) -> None:
    if isinstance(evidence.event_stream, Unseen):
        finding.unseen.append(evidence.event_stream)
    else:
        finding.offenders += await _untold(evidence, evidence.event_stream.buried)
    if isinstance(evidence.push_log, Unseen):
        if evidence.push_log not in finding.unseen:
            finding.unseen.append(evidence.push_log)
        return
    told = messages(evidence.push_log)
    finding.examined += len(told)
    finding.offenders += await _tickets(evidence, evidence.push_log, told)
    finding.offenders += await _shows(evidence, evidence.push_log, told)


async def _untold(evidence: Evidence, buried: frozenset[tuple[str, Position]]) -> list[str]:
    """The oldest event that should have been told by now. Events that were buried instead are told of there."""
    state = await evidence.rows.fetchrow(
        "select n.position as told, r.epoch, r.epoch_start from push.notifier n, events.relay r"
    )
    assert state is not None
    told = log_position_of(state["told"])
    after = told.position if told.epoch == state["epoch"] else state["epoch_start"]
    if told.epoch > state["epoch"]:
        return []
    waiting = await evidence.rows.fetch(UNTOLD, after, evidence.began, timeout=QUERY_SECONDS)
    return [
        f"the notifier has told up to {told}, and not event {row['event_id']} ({row['type']}) of {row['occurred_at']}"
        for row in waiting
        if (READER, Position(state["epoch"], row["position"])) not in buried
    ][:1]


def _newest(states: Iterable[State]) -> dict[UUID, State]:
    """The highest version of each: whatever comes after it, a client keeps that."""
    newest: dict[UUID, State] = {}
    for state in states:
        key = UUID(state["id"])
        if key not in newest or state["version"] > newest[key]["version"]:
            newest[key] = state
    return newest


async def _tickets(evidence: Evidence, log: PushLog, told: list[Message]) -> list[str]:
    newest = _newest(
        message.body["ticket"]
        for message in told
        if message.channel.startswith("show-") and "ticket" in message.body
    )
    rows = await evidence.rows.fetch(
        TICKETS, list(newest), log.since, evidence.began, timeout=QUERY_SECONDS
    )
    return [sentence for row in rows if (sentence := _ticket_differs(row, newest.get(row["id"])))][
        :MOST
    ]


def _ticket_differs(row: Any, told: State | None) -> str | None:
    if told is None:
        return f"nobody was told that ticket {row['id']} is {row['status']} at version {row['version']}"
    if told["version"] > row["version"]:
        return f"clients were told of version {told['version']} of ticket {row['id']}, which is at {row['version']}"
    if told["version"] < row["version"]:
        if not row["is_stale"]:
            return None
        return (
            f"clients were told of version {told['version']} of ticket {row['id']}, which is at {row['version']} "
            f"since {row['updated_at']}"
        )
    if (told["status"], told["price"]) != (row["status"], row["price"]):
        return (
            f"clients were told that version {row['version']} of ticket {row['id']} is {told['status']} "
            f"for {told['price']}; it is {row['status']} for {row['price']}"
        )
    return None


async def _shows(evidence: Evidence, log: PushLog, told: list[Message]) -> list[str]:
    newest = _newest(
        message.body["show"]
        for message in told
        if message.channel == "shows" and "show" in message.body
    )
    wanted = list(newest)[:MOST_SHOWS]
    rows = await evidence.rows.fetch(
        SHOWS, wanted, log.since, evidence.began, timeout=QUERY_SECONDS
    )
    return [sentence for row in rows if (sentence := _show_differs(row, newest[row["id"]]))]


def _show_differs(row: Any, told: State) -> str | None:
    if told["version"] != row["version"]:
        if told["version"] < row["version"] and not row["is_stale"]:
            return None
        return f"clients have counts of version {told['version']} of show {row['id']}, which is at {row['version']}"
    counts = {name: row[name] for name in ("available", "held", "sold")}
    if not row["is_lapsing"] and counts != {name: told[name] for name in counts}:
        shown = ", ".join(f"{told[name]} {name}" for name in counts)
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"clients were told that show {row['id']} has {shown}; it has {found}"
    return None
