"""The work that a cancelled show leaves: its tickets are withdrawn and its money is returned.

The rows decide what is left to do, so a run that dies, or that Stripe does not answer, is continued
by the next one. Each order is one refund, which `orders.begin_refund` begins once for each line; a
refund that has begun is finished by its run, by a webhook or by the reconciler.
"""

import asyncio
from typing import Any

import structlog

from backend.events.resources import Resources
from backend.kernel import correlation, database
from backend.kernel.problems import Problem
from backend.payments import refund_queries
from backend.payments.refund_queries import RefundRequest
from backend.payments.refunds import ALWAYS, Refunds
from backend.tickets import queries

log = structlog.get_logger()

# A batch of withdrawals is one transaction.
WITHDRAWN = 500
BATCHES = 20
# The number of refunds that begin together, and of those that run at the same time.
RETURNED = 50
CONCURRENCY = 10
REFUND_SECONDS = 10.0
# No further refund begins while so many wait for Stripe, as during an outage.
MAX_WAITING = 200


async def wind_up_shows(context: dict[str, Any]) -> int:
    """Withdraw free tickets of cancelled shows, and begin the refunds of a batch of sold ones.
    Returns the number of orders with a refund that began.
    """
    await _withdraw(context["tickets"])
    payments: Resources = context["payments"]
    async with database.connection(payments.pool) as connection:
        if await refund_queries.count_requested(connection, MAX_WAITING) >= MAX_WAITING:
            return 0
        wanted = await refund_queries.to_return(connection, RETURNED)
    slots = asyncio.Semaphore(CONCURRENCY)
    refunds: Refunds = context["payment_flow"].refunds
    begun = sum(await asyncio.gather(*(_return(refunds, one, slots) for one in wanted)))
    if wanted:
        log.info("money of cancelled shows is returned", orders=len(wanted), begun=begun)
    return begun


async def _withdraw(resources: Resources) -> None:
    for _ in range(BATCHES):
        async with database.connection(resources.pool) as connection:
            withdrawn = await queries.withdraw_cancelled(connection, WITHDRAWN)
        if withdrawn:
            resources.wake_relay()
        if withdrawn < WITHDRAWN:
            return


async def _return(
    refunds: Refunds, wanted: refund_queries.ToReturn, slots: asyncio.Semaphore
) -> bool:
    """Whether the refund of this order began. It may be finished later."""
    # In the name of the buyer, as the refunds that an operator makes at Stripe.
    request = RefundRequest(
        wanted.order_id,
        wanted.buyer_id,
        relist=False,
        buyer_window=ALWAYS,
        lines=wanted.tickets,
    )
    async with slots:
        with correlation.bound():
            try:
                refund = await refunds.begin(request)
            except Problem as refusal:
                # The seller or the buyer was faster.
                log.info("no refund", order_id=str(wanted.order_id), code=refusal.code)
                return False
            try:
                async with asyncio.timeout(REFUND_SECONDS):
                    await refunds.resume(refund)
            except Exception as error:
                log.warning("refund not finished", refund_id=str(refund.id), error=repr(error))
    return True
