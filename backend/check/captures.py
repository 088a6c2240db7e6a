"""Invariant I2: captured money matches completed orders.

Compares our payments with our orders, and both with the provider's ledger. The ledger is compared
for orders at rest: no change of the order, of its payments or by a webhook for them in the last
minute. Amounts of the ledger are in Stripe's units.
"""

from typing import Any
from uuid import UUID

from backend.check import refunds
from backend.check.ledger import Intent, Ledger
from backend.check.result import MAX_VIOLATIONS, QUERY_SECONDS, QUIET, Result, Unchecked
from backend.check.snapshot import Snapshot
from backend.currencies import CURRENCIES

DESCRIPTION = (
    "in our rows and in the ledger, each completed order is captured once with its amount, what is"
    " refunded is the amount of its refunded lines, and no other money is kept"
)

COUNT_SQL = "select count(*) from payments.payments"

VIOLATIONS_SQL = f"""
    select format('payment %s is captured, but order %s is %s', p.id, o.id, o.status)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and o.status not in ('completed', 'refund_pending', 'refunded')
    union all
    select format(
        'payment %s captured %s %s, but order %s costs %s %s', p.id, p.amount, p.currency, o.id,
            o.total, o.currency
    )
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and (o.total <> p.amount or o.currency <> p.currency)
    union all
    select format('order %s names payment %s, but payment %s is captured', o.id, o.payment_id, p.id)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and o.status = 'completed' and o.payment_id <> p.id
    union all
    select format('order %s is completed by %s captured payments', o.id, count(p.id))
    from orders.orders o left join payments.payments p on p.order_id = o.id
        and p.status = 'captured'
    where o.status = 'completed' group by o.id having count(p.id) <> 1
    union all
    select format('payment %s pays order %s, which does not exist', p.id, p.order_id)
    from payments.payments p where not exists (select from orders.orders o where o.id = p.order_id)
    union all
    select format('payment %s of order %s is %s since %s', p.id, p.order_id, p.status, p.updated_at)
    from payments.payments p where p.status in ('started', 'authorised')
        and p.updated_at < now() - {QUIET}
    union all
    select format('payment %s waits for its buyer, but order %s is %s since %s', p.id, o.id,
        o.status, o.updated_at)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'requires_action' and o.status not in ('pending', 'awaiting_payment')
      and o.updated_at < now() - {QUIET}
"""

# The orders that the ledger has, and those that it should have: completed, and created since its
# oldest intent.
ORDERS = f"""
    select o.id, o.status, o.total, o.currency,
           greatest(o.updated_at, max(p.updated_at),
               max(w.received_at)) < $3::timestamptz - {QUIET} as is_quiet,
           array_agg(p.intent_id) filter (where p.status = 'captured') as captured,
           (
               select coalesce(sum(l.price + l.fee), 0)::bigint from orders.lines l
               where l.order_id = o.id and l.status = 'sold'
           ) as kept,
           exists (
               select from payments.refunds r where r.order_id = o.id and r.status = 'requested'
           ) as is_refunding
    from orders.orders o
    left join payments.payments p on p.order_id = o.id
    left join payments.webhook_events w on w.object_id = p.intent_id
        and w.received_at > $3::timestamptz - {QUIET}
    where o.id = any ($1) or (o.status = 'completed' and o.created_at > $2)
    group by o.id
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL)
    await result.run(snapshot.connection, refunds.COUNT_SQL, refunds.VIOLATIONS_SQL)
    if isinstance(snapshot.ledger, Unchecked):
        result.unchecked.append(snapshot.ledger)
        return
    if snapshot.ledger.note:
        result.unchecked.append(Unchecked(snapshot.ledger.note, is_error=False))
    result.examined += len(snapshot.ledger.intents)
    result.violations += await _compare_with_ledger(snapshot, snapshot.ledger)


async def _compare_with_ledger(snapshot: Snapshot, ledger: Ledger) -> list[str]:
    of_order: dict[UUID, list[Intent]] = {}
    for intent in ledger.intents:
        if intent.order_id is not None:
            of_order.setdefault(intent.order_id, []).append(intent)
    orders = await snapshot.connection.fetch(
        ORDERS, list(of_order), ledger.since, snapshot.began, timeout=QUERY_SECONDS
    )
    found = [
        sentence
        for order in orders
        if order["is_quiet"]
        for sentence in ledger_differs(order, of_order.get(order["id"], []))
    ]
    quiet_since = await snapshot.connection.fetchval(
        f"select $1::timestamptz - {QUIET}", snapshot.began
    )
    for order_id in of_order.keys() - {order["id"] for order in orders}:
        found += [
            f"intent {intent.id} has {_amount(intent)} for order {order_id}, which does not exist"
            for intent in of_order[order_id]
            if (intent.taken or intent.capturable) and intent.created_at < quiet_since
        ]
    return found[:MAX_VIOLATIONS]


def ledger_differs(order: Any, intents: list[Intent]) -> list[str]:
    """Return the differences between the ledger and an order at rest."""
    name = f"order {order['id']} is {order['status']}"
    taken = [intent for intent in intents if intent.taken]
    found = [
        f"{name}, but intent {intent.id} still holds {intent.capturable} {intent.currency}"
        for intent in intents
        if intent.capturable and order["status"] != "confirmed"
    ]
    match order["status"]:
        case "completed" if len(taken) != 1:
            found.append(f"{name}, but the ledger has {len(taken)} captured intents for it")
        case "completed" if not order["is_refunding"]:
            found += _capture_differs(order, taken[0])
        case "completed" | "refund_pending" | "confirmed":
            # These are in progress, and other invariants limit their time.
            pass
        case _:
            found += [f"{name}, but intent {intent.id} kept {_amount(intent)}" for intent in taken]
    return found


def _capture_differs(order: Any, intent: Intent) -> list[str]:
    found = []
    kept = CURRENCIES[order["currency"]].to_wire(order["kept"])
    if (intent.taken, intent.currency) != (kept, order["currency"]):
        price = f"{kept} {order['currency']}"
        found.append(
            f"order {order['id']} costs {price} without refunded lines, but intent {intent.id}"
            f" has {_amount(intent)}"
        )
    if order["captured"] != [intent.id]:
        rows = ", ".join(map(str, order["captured"] or ["none"]))
        found.append(
            f"order {order['id']} was paid by intent {intent.id}, but our captured payment has"
            f" {rows}"
        )
    return found


def _amount(intent: Intent) -> str:
    refunded = f" ({intent.refunded} refunded)" if intent.refunded else ""
    held = f" and holds {intent.capturable}" if intent.capturable else ""
    return f"{intent.taken} {intent.currency}{refunded}{held}"
