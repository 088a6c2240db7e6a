"""Postponing and cancelling a show: units of work on the caller's connection."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from backend.events import outbox
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.tickets import queries
from backend.tickets.errors import NotYourShow, ShowCancelled, ShowNotFound, ShowOver
from backend.tickets.model import ShowDecision, ShowRow

# A show that did not take place may still be cancelled for so long after its end.
CANCELLABLE = timedelta(days=7)


async def cancel(connection: Connection, owner: Principal, show_id: UUID) -> None:
    """Cancel a show for good; nothing changes if it is cancelled. A worker then withdraws its
    tickets and returns its money. Raises ShowNotFound, NotYourShow, ShowOver.
    """
    row = await _lock_own(connection, owner, show_id)
    if row.status == "cancelled":
        return
    if row.status == "on_sale" and _end(row) + CANCELLABLE <= await queries.now(connection):
        raise ShowOver(f"the show was over more than {CANCELLABLE.days} days ago")
    await _decide(connection, row, "cancelled")


async def postpone(connection: Connection, owner: Principal, show_id: UUID) -> None:
    """Take a show off sale until its owner gives a new date; nothing changes if it is postponed.
    Raises ShowNotFound, NotYourShow, ShowCancelled, ShowOver.
    """
    row = await _lock_own(connection, owner, show_id)
    if row.status == "cancelled":
        raise ShowCancelled("the show is cancelled, which is final")
    if row.status == "postponed":
        return
    if _end(row) <= await queries.now(connection):
        raise ShowOver("the show is over")
    await _decide(connection, row, "postponed")


async def _lock_own(connection: Connection, owner: Principal, show_id: UUID) -> ShowRow:
    row = await queries.lock_show(connection, show_id)
    if row is None:
        raise ShowNotFound
    if row.owner_id != owner.user_id:
        raise NotYourShow
    return row


async def _decide(connection: Connection, row: ShowRow, status: ShowDecision) -> None:
    changed = await queries.update_show(connection, msgspec.structs.replace(row, status=status))
    await outbox.append(connection, "show.updated", changed.id, changed.version, changed)


def _end(row: ShowRow) -> datetime:
    return row.ends_at or row.starts_at
