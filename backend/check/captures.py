"""I2. Our payments against our orders, and both against the provider's ledger. The ledger is judged for orders at rest:
a minute after the last change of the order, of its payments, and of what the provider told of them.
"""

from typing import Any
from uuid import UUID

from backend.check.evidence import Evidence
from backend.check.finding import MOST, QUERY_SECONDS, QUIET, Finding, Unseen
from backend.check.ledger import Intent, Ledger

SAYS = "money is captured exactly for completed orders, once, of their amount, and nothing else is kept, by our rows and the ledger"

COUNTS = "select count(*) from payments.payments"

FINDS = f"""
    select format('payment %s is captured, but order %s is %s', p.id, o.id, o.status)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and o.status not in ('completed', 'refund_pending', 'refunded')
    union all
    select format(
        'payment %s captured %s %s, but order %s costs %s %s', p.id, p.amount, p.currency, o.id, o.total, o.currency
    )
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and (o.total <> p.amount or o.currency <> p.currency)
    union all
    select format('order %s names payment %s, but payment %s is captured', o.id, o.payment_id, p.id)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'captured' and o.status = 'completed' and o.payment_id <> p.id
    union all
    select format('order %s is completed by %s captured payments', o.id, count(p.id))
    from orders.orders o left join payments.payments p on p.order_id = o.id and p.status = 'captured'
    where o.status = 'completed' group by o.id having count(p.id) <> 1
    union all
    select format('payment %s pays order %s, which is not there', p.id, p.order_id)
    from payments.payments p where not exists (select from orders.orders o where o.id = p.order_id)
    union all
    select format('payment %s of order %s is %s since %s', p.id, p.order_id, p.status, p.updated_at)
    from payments.payments p where p.status in ('started', 'authorised') and p.updated_at < now() - {QUIET}
    union all
    select format('payment %s waits for its buyer, but order %s is %s since %s', p.id, o.id, o.status, o.updated_at)
    from payments.payments p join orders.orders o on o.id = p.order_id
    where p.status = 'requires_action' and o.status not in ('pending', 'awaiting_payment')
      and o.updated_at < now() - {QUIET}
"""

# The orders that the ledger names, and those that it should name: paid, and no older than what was read of it.
ORDERS = f"""
    select o.id, o.status, o.total, o.currency,
           greatest(o.updated_at, max(p.updated_at), max(w.received_at)) < $3::timestamptz - {QUIET} as is_quiet,
           array_agg(p.intent_id) filter (where p.status = 'captured') as captured
    from orders.orders o
    left join payments.payments p on p.order_id = o.id
    left join payments.webhook_events w on w.object_id = p.intent_id and w.received_at > $3::timestamptz - {QUIET}
    where o.id = any ($1) or (o.status = 'completed' and o.created_at > $2)
    group by o.id
"""


async def examine(evidence: Evidence, finding: Finding) -> None:
    await finding.ask(evidence.rows, COUNTS, FINDS)
    if isinstance(evidence.ledger, Unseen):
        finding.unseen.append(evidence.ledger)
        return
    if evidence.ledger.note:
        finding.unseen.append(Unseen(evidence.ledger.note, is_fault=False))
    finding.examined += len(evidence.ledger.intents)
    finding.offenders += await _by_the_ledger(evidence, evidence.ledger)


async def _by_the_ledger(evidence: Evidence, ledger: Ledger) -> list[str]:
    of_order: dict[UUID, list[Intent]] = {}
    for intent in ledger.intents:
        if intent.order_id is not None:
            of_order.setdefault(intent.order_id, []).append(intent)
    orders = await evidence.rows.fetch(
        ORDERS, list(of_order), ledger.since, evidence.began, timeout=QUERY_SECONDS
    )
    found = [
        sentence
        for order in orders
        if order["is_quiet"]
        for sentence in _differs(order, of_order.get(order["id"], []))
    ]
    quiet_since = await evidence.rows.fetchval(f"select $1::timestamptz - {QUIET}", evidence.began)
    for order_id in of_order.keys() - {order["id"] for order in orders}:
        found += [
            f"intent {intent.id} has {_amount(intent)} for order {order_id}, which is not there"
            for intent in of_order[order_id]
            if (intent.taken or intent.capturable) and intent.created_at < quiet_since
        ]
    return found[:MOST]


def _differs(order: Any, intents: list[Intent]) -> list[str]:
    """What the ledger has otherwise than an order at rest."""
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
        case "completed":
            found += _captured_otherwise(order, taken[0])
        case "refund_pending" | "confirmed":
            # On their way, each with a time limit of its own.
            pass
        case _:
            found += [f"{name}, but intent {intent.id} kept {_amount(intent)}" for intent in taken]
    return found


def _captured_otherwise(order: Any, intent: Intent) -> list[str]:
    found = []
    if (intent.taken, intent.currency) != (order["total"], order["currency"]):
        price = f"{order['total']} {order['currency']}"
        found.append(
            f"order {order['id']} costs {price}, but intent {intent.id} has {_amount(intent)}"
        )
    if order["captured"] != [intent.id]:
        rows = ", ".join(map(str, order["captured"] or ["none"]))
        found.append(
            f"order {order['id']} was paid by intent {intent.id}, but our captured payment has {rows}"
        )
    return found


def _amount(intent: Intent) -> str:
    returned = f" ({intent.returned} given back)" if intent.returned else ""
    held = f" and holds {intent.capturable}" if intent.capturable else ""
    return f"{intent.taken} {intent.currency}{returned}{held}"
