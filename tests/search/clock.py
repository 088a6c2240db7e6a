"""Lets time pass by moving deadlines in the database."""

from uuid import UUID

import pytest

from tests.search.entities import Order
from tests.search.model import Model
from tests.search.running_system import REFUND_WINDOW_SECONDS, RunningSystem
from workers import expiration


class Clock:
    def __init__(self, running: RunningSystem, model: Model) -> None:
        self._running = running
        self._model = model

    async def make_overdue(self, order: Order) -> None:
        """Move the deadlines of an unpaid order, its tickets and its payment into the past."""
        await self._running.shop.rows.execute(
            """
            with o as (
                update orders.orders set expires_at = now() - interval '2 seconds'
                where id = $1 and status in ('pending', 'awaiting_payment') returning id
            ), p as (
                update payments.payments set deadline_at = now() - interval '2 seconds'
                where order_id in (select id from o) and status in ('started',
                    'requires_action', 'authorised')
            )
            update tickets.tickets set held_until = now() - interval '2 seconds'
            where order_id in (select id from o) and status = 'held'
            """,
            UUID(order.id),
        )
        self._model.make_overdue(order)

    async def expire_due(self, batch: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(expiration, "BATCH", batch)
            await expiration.expire_due(self._running.jobs)
        self._model.expire_due()

    async def refund_window_ends(self, order: Order) -> None:
        """End the period in which the buyer may request a refund."""
        await self._running.shop.rows.execute(
            """
            update payments.payments set captured_at = captured_at - make_interval(secs => $2)
            where order_id = $1 and captured_at is not null
            """,
            UUID(order.id),
            2 * REFUND_WINDOW_SECONDS,
        )
        order.is_in_refund_window = False
