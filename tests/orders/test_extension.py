"""The one extension of an unpaid hold, for accounts that need more time."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.events.resources import open_resources
from backend.kernel import correlation
from tests import factories
from tests.factories import Json
from tests.orders.rows import (
    backdate,
    elapse,
    end_sales,
    holder,
    make_overdue,
    snapshot,
    status,
    used_of,
)
from tests.orders.test_limits import replace_in, tickets_of_a_show
from tests.orders.test_unpaid_time import HOME, cancel, held, hold, limit, tickets
from tests.replies import code
from tests.system import Person, System
from workers.expiration import Expiry, expire_due

REFUSED = (409, "order_not_extendable")
# A pause between the read of the order and the locks.
BEFORE_LOCKS = "perform events.act_for(p_buyer);"
PAUSE = f"{BEFORE_LOCKS} perform pg_sleep(0.5);"


async def slow_person(system: System, owner: Any, name: str = "buyer") -> Person:
    """A person with the setting on."""
    person = system.person(name)
    await set_needs(owner, person, needs=True)
    return person


async def set_needs(owner: Any, person: Person, *, needs: bool) -> None:
    await owner.execute(
        """
        insert into auth.users (id, email, password_hash)
        select $1::uuid, $1::text || '@example.com', 'x'
        where not exists (select from auth.users where id = $1::uuid)
        """,
        person.id,
    )
    await owner.execute(
        "update auth.users set needs_more_time = $2 where id = $1", person.id, needs
    )


async def extend(buyer: Person, order: Json, *, key: str | None = None) -> httpx.Response:
    return await buyer.post(f"/api/orders/{order['id']}/extend", key=key)


async def ends(owner: Any, order: Json) -> set[datetime]:
    """The end of the hold, by the order and by each of its tickets."""
    rows = await owner.fetch(
        """
        select expires_at from orders.orders where id = $1
        union select held_until from tickets.tickets where order_id = $1
        """,
        UUID(order["id"]),
    )
    return {row["expires_at"] for row in rows}


async def an_order(system: System, owner: Any, count: int = 2) -> tuple[Person, Json]:
    buyer = await slow_person(system, owner)
    ids = await tickets_of_a_show(system.person("seller"), count)
    return buyer, await factories.order(buyer, *ids)


async def test_an_extension_lengthens_the_hold_by_its_own_length(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    reply = await extend(buyer, order)
    assert reply.status_code == 200, reply.text
    extended = reply.json()
    before, after = (datetime.fromisoformat(each["expires_at"]) for each in (order, extended))
    assert after - before == timedelta(seconds=60)
    assert await ends(owner, order) == {after}
    assert extended["extended_at"] is not None
    assert 60 < extended["seconds_left"] <= 120
    assert extended["version"] == order["version"] + 1
    assert (await system.events(owner))[-3:] == [
        *(("ticket.extended", ticket["id"]) for ticket in order["tickets"]),
        ("order.updated", order["id"]),
    ]
    published = await owner.fetchval(
        "select data ->> 'extended_at' from events.outbox order by id desc limit 1"
    )
    assert datetime.fromisoformat(published) == datetime.fromisoformat(extended["extended_at"])
    # A payment extends the hold by the grace, as that of any hold.
    grace = "select latest_expiry - expires_at from orders.orders where id = $1"
    assert await owner.fetchval(grace, UUID(order["id"])) == timedelta(seconds=60)


async def test_an_account_without_the_setting_extends_nothing(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    for needs in (False, None):
        if needs is None:
            await owner.execute("delete from auth.users where id = $1", buyer.id)
        else:
            await set_needs(owner, buyer, needs=needs)
        before = await snapshot(owner)
        assert code(await extend(buyer, order)) == (403, "extension_not_allowed")
        assert await snapshot(owner) == before


async def test_a_stranger_extends_nothing(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    _, order = await an_order(system, owner)
    stranger = await slow_person(system, owner, "stranger")
    before = await snapshot(owner)
    assert code(await extend(stranger, order)) == (404, "order_not_found")
    assert code(await extend(stranger, {"id": str(uuid4())})) == (404, "order_not_found")
    assert await snapshot(owner) == before


async def test_a_hold_is_extended_once_and_a_key_repeats_the_reply(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    key = str(uuid4())
    first, again = [await extend(buyer, order, key=key) for _ in range(2)]
    assert (again.status_code, again.json()) == (200, first.json())
    before = await snapshot(owner)
    assert code(await extend(buyer, order)) == (409, "already_extended")
    assert code(await extend(buyer, order, key=str(uuid4()))) == (409, "already_extended")
    assert await snapshot(owner) == before


@pytest.mark.parametrize(
    ("end", "order_status"),
    [
        ("overdue", "expired"),
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("paying", "awaiting_payment"),
    ],
)
async def test_an_order_that_has_ended_or_is_being_paid_is_not_extended(
    end: str, order_status: str, system: System
) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    if end == "cancelled":
        await cancel(buyer, order)
    elif end == "paying":
        await begin_payment(owner, buyer, order)
    else:
        await make_overdue(owner, order)
    if end == "expired":
        await owner.fetchval("select orders.expire_due(10)")
    before = await snapshot(owner)
    refused = await extend(buyer, order)
    assert (code(refused), refused.json()["order_status"]) == (REFUSED, order_status)
    assert await snapshot(owner) == before


async def test_an_extended_hold_can_be_paid_for_with_its_grace(system: System) -> None:
    await system.start("api", "stripe")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    assert (await extend(buyer, order)).status_code == 200
    await elapse(owner, 110)
    deadline = await begin_payment(owner, buyer, order)
    assert 58 < (deadline - await owner.fetchval("select now()")).total_seconds() <= 60
    assert await ends(owner, order) == {deadline}


@pytest.mark.parametrize(("sales_end", "gained"), [(90, 30), (60, None)])
async def test_no_extension_ends_after_the_sales_of_the_show(
    sales_end: int, gained: int | None, system: System
) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner)
    end = datetime.fromisoformat(order["created_at"]) + timedelta(seconds=sales_end)
    await owner.execute("update tickets.shows set sales_end_at = $1", end)
    reply = await extend(buyer, order)
    if gained is None:
        assert code(reply) == (409, "sales_ended")
        await end_sales(owner, order["tickets"][0]["show_id"])
        assert code(await extend(buyer, order)) == (409, "sales_ended")
    else:
        assert await ends(owner, order) == {end}


# The limits of unpaid time.


async def test_an_extension_is_charged_to_the_budgets_of_the_hold(system: System) -> None:
    limit(system)
    await system.start("api")
    owner = await system.connect()
    buyer = await slow_person(system, owner)
    order = await held(buyer, *await tickets(system, 4))
    # The request comes from another address, and the network that the hold is charged to pays.
    reply = await buyer.post(f"/api/orders/{order['id']}/extend", X_Forwarded_For="203.0.113.77")
    assert reply.status_code == 200
    for subject in (f"unpaid account {buyer.id}", f"unpaid network {HOME}"):
        assert 475 < await used_of(owner, subject) <= 480
    assert await used_of(owner, "203.0.113.77") == 0
    await elapse(owner, 70)
    await cancel(buyer, order)
    # 70 seconds of four tickets, of which the budget has regained 70.
    assert await used_of(owner, f"unpaid account {buyer.id}") == pytest.approx(4 * 70 - 70, abs=5)


async def test_a_paid_order_gives_the_extension_back(system: System) -> None:
    limit(system)
    await system.start("api", "stripe")
    owner = await system.connect()
    buyer = await slow_person(system, owner)
    order = await held(buyer, *await tickets(system, 4))
    assert (await extend(buyer, order)).status_code == 200
    assert (await factories.payment(buyer, order["id"]))["status"] == "captured"
    assert await used_of(owner, "unpaid ") == 0


@pytest.mark.parametrize(
    ("setting", "limited"),
    [
        ("UNPAID_TICKET_SECONDS", "account"),
        ("UNPAID_TICKET_SECONDS_OF_ADDRESS", "network"),
    ],
)
async def test_an_extension_above_a_budget_is_refused(
    setting: str, limited: str, system: System
) -> None:
    limit(system, MAX_TICKETS_PER_ORDER="2", **{setting: "150"})
    await system.start("api")
    owner = await system.connect()
    buyer = await slow_person(system, owner)
    order = await held(buyer, *await tickets(system, 2))
    before = await snapshot(owner)
    refused = await extend(buyer, order, key=str(uuid4()))
    assert (code(refused), refused.json()["limited"]) == ((429, "cooling_down"), limited)
    # 240 of 150 ticket-seconds: the budget never has so much.
    assert int(refused.headers["Retry-After"]) > 1_000
    assert await snapshot(owner) == before


async def hoard(system: System, *, extends: bool) -> float:
    """Hold for an hour as much as the limits allow. Returns the ticket-seconds of the holds."""
    await system.start("api")
    owner = await system.connect()
    hoarder = await slow_person(system, owner, "hoarder")
    ids = await tickets(system, 48)
    total, ended = 0.0, 0.0
    for number in range(1_000):
        cart = [ids[(8 * number + part) % 48] for part in range(8)]
        reply = await hold(hoarder, *cart)
        if reply.status_code == 429:
            wait = int(reply.headers["Retry-After"])
            assert wait < 3_600
        else:
            length = 60
            if extends and (await extend(hoarder, reply.json())).status_code == 200:
                length = 120
            total += 8 * length
            wait = length
        ended += wait
        if ended > 3_600:
            return total
        await elapse(owner, wait)
        await owner.fetchval("select orders.expire_due(100)")
    raise AssertionError("the hour does not end")


@pytest.mark.parametrize("extends", [False, True])
async def test_the_setting_gains_a_hoarder_no_unpaid_time(extends: bool, system: System) -> None:
    limit(system)
    # A full budget, and the amount that an hour gives back.
    assert await hoard(system, extends=extends) <= 2 * 3_600


async def test_without_the_charge_the_setting_gains_a_hoarder_time(system: System) -> None:
    """The negative control of the test above."""
    limit(system)
    await replace_in(
        await system.connect(),
        "orders.extend",
        "perform orders.charge_more(v_order.charged_to, v_plan.amount);",
        "",
    )
    assert await hoard(system, extends=True) > 2 * 3_600


async def order_beside_a_long_hold(system: System) -> httpx.Response:
    """Order beside the one hold that is allowed, which began 140 seconds ago."""
    system.configure(MAX_OPEN_ORDERS="1", REHOLD_SECONDS="0")
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner, 1)
    assert (await extend(buyer, order)).status_code == 200
    await elapse(owner, 100)
    await begin_payment(owner, buyer, order)
    # The id of an order has its time, which `elapse` does not change.
    await backdate(owner, order, seconds=40)
    (other,) = await tickets_of_a_show(system.person("seller"), 1)
    return await hold(buyer, other)


async def test_an_extended_hold_counts_as_open_until_its_end(system: System) -> None:
    assert code(await order_beside_a_long_hold(system)) == (409, "too_many_open_orders")


async def test_without_the_extension_in_the_longest_hold_it_is_not_counted(
    system: System,
) -> None:
    """The negative control of the test above."""
    await replace_in(await system.connect(), "orders.place", "2 * p_hold", "p_hold")
    assert (await order_beside_a_long_hold(system)).status_code == 201


async def test_a_seller_sees_an_extended_hold_until_its_end(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    buyer, seller = await slow_person(system, owner), system.person("seller")
    order = await factories.order(buyer, *await tickets_of_a_show(seller, 1))
    assert (await extend(buyer, order)).status_code == 200
    await begin_payment(owner, buyer, order)
    # Older than a hold with its grace and the margin of the search.
    await owner.execute("update orders.orders set expires_at = now() + interval '9 seconds'")
    await backdate(owner, order, seconds=60 + 60 + 58)
    (sale,) = (await seller.get("/api/sales?status=held")).json()["items"]
    assert sale["held_until"] is not None


# Races.


async def begin_payment(owner: Any, buyer: Person, order: Json) -> datetime:
    row = await owner.fetchrow(
        "select * from orders.begin_payment($1, $2, $3)", UUID(order["id"]), buyer.id, uuid4()
    )
    assert row["outcome"] == "ok"
    deadline: datetime = row["deadline"]
    return deadline


async def extend_in_parallel(system: System, owner: Any) -> tuple[Counter[Any], float]:
    """Extend a hold six times at once, all after the read. Returns the seconds it gained too."""
    await replace_in(owner, "orders.extend", BEFORE_LOCKS, PAUSE)
    await system.start("api")
    buyer, order = await an_order(system, owner)
    replies = await asyncio.gather(*(extend(buyer, order) for _ in range(6)))
    (end,) = await ends(owner, order)
    gained = (end - datetime.fromisoformat(order["expires_at"])).total_seconds()
    return Counter(200 if each.status_code == 200 else code(each) for each in replies), gained


async def test_of_parallel_extensions_one_succeeds(system: System) -> None:
    outcomes, gained = await extend_in_parallel(system, await system.connect())
    assert outcomes == {200: 1, (409, "already_extended"): 5}
    assert gained == 60


async def test_without_its_guard_parallel_extensions_all_succeed(system: System) -> None:
    """The negative control of the test above."""
    owner = await system.connect()
    await replace_in(owner, "orders.extend", "and o.extended_at is null", "")
    assert (await extend_in_parallel(system, owner))[0] == {200: 6}


async def extend_at_the_end(system: System, owner: Any) -> tuple[httpx.Response, str]:
    """Extend a hold that ends between the read and the locks. A worker and another buyer wait for
    its end. Returns the status of the order too.
    """
    system.configure(HOLD_SECONDS="1")
    await replace_in(owner, "orders.extend", BEFORE_LOCKS, f"{BEFORE_LOCKS} perform pg_sleep(1.2);")
    await system.start("api")
    buyer, order = await an_order(system, owner, 1)
    extending = asyncio.create_task(extend(buyer, order))
    # The reply is late, so the hold has ended.
    reply = await extending
    return reply, await status(owner, order)


async def test_a_hold_that_ends_before_the_locks_is_not_extended(system: System) -> None:
    owner = await system.connect()
    reply, _ = await extend_at_the_end(system, owner)
    assert (code(reply), reply.json()["order_status"]) == (REFUSED, "expired")


async def test_without_its_guards_a_hold_that_has_ended_is_extended(system: System) -> None:
    """The negative control of the test above."""
    owner = await system.connect()
    await replace_in(owner, "tickets.extend", "and t.held_until > clock_timestamp()", "")
    await replace_in(owner, "orders.extend", "and o.expires_at > clock_timestamp()", "")
    reply, kept = await extend_at_the_end(system, owner)
    assert (reply.status_code, kept) == (200, "pending")


@pytest.mark.parametrize("rival", ["expiry", "cancel", "payment", "buyer"])
async def test_an_extension_that_another_transaction_overtakes_changes_nothing(
    rival: str, system: System
) -> None:
    owner = await system.connect()
    await replace_in(owner, "orders.extend", BEFORE_LOCKS, PAUSE)
    await system.start("api")
    buyer, order = await an_order(system, owner, 1)
    extending = asyncio.create_task(extend(buyer, order))
    await asyncio.sleep(0.2)
    other: Json | None = None
    if rival in {"expiry", "buyer"}:
        await make_overdue(owner, order)
    if rival == "expiry":
        assert await owner.fetchval("select orders.expire_due(10)") == 1
    elif rival == "cancel":
        await cancel(buyer, order)
    elif rival == "buyer":
        other = await factories.order(system.person("rival"), order["tickets"][0]["id"])
    else:
        await begin_payment(owner, buyer, order)
    before = await snapshot(owner)
    assert code(await extending) == REFUSED
    assert await snapshot(owner) == before
    if other is not None:
        assert await holder(owner, order["tickets"][0]) == ("held", other["id"])


async def pay_after_an_extension(system: System, owner: Any) -> tuple[datetime, datetime]:
    """Begin a payment whose read is before an extension. Returns the end that the extension set,
    and the end that the payment set.
    """
    await replace_in(owner, "orders.begin_payment", BEFORE_LOCKS, PAUSE)
    await system.start("api")
    buyer, order = await an_order(system, owner)
    paying = asyncio.create_task(begin_payment(await system.connect(), buyer, order))
    await asyncio.sleep(0.2)
    extended = await extend(buyer, order)
    assert extended.status_code == 200
    deadline = await paying
    assert await ends(owner, order) == {deadline}
    return datetime.fromisoformat(extended.json()["expires_at"]), deadline


async def test_a_payment_that_an_extension_overtakes_keeps_the_longer_hold(
    system: System,
) -> None:
    extended, deadline = await pay_after_an_extension(system, await system.connect())
    assert deadline == extended


async def test_without_a_second_read_a_payment_would_undo_the_extension(system: System) -> None:
    """The negative control of the test above."""
    owner = await system.connect()
    await replace_in(
        owner,
        "orders.extend_for_payment",
        "select * into o from orders.orders u where u.id = o.id;",
        "",
    )
    extended, deadline = await pay_after_an_extension(system, owner)
    assert deadline < extended


async def test_a_worker_expires_an_extended_hold_at_its_new_end(system: System) -> None:
    system.configure(HOLD_SECONDS="2")
    await system.start("api")
    owner = await system.connect()
    buyer, order = await an_order(system, owner, 1)
    assert (await extend(buyer, order)).status_code == 200
    async with open_resources(system.settings, "orders") as stores:

        async def expired() -> int:
            with correlation.bound():
                return await expire_due({"expiry": Expiry(stores)}, 17)

        await asyncio.sleep(2.1)
        assert await expired() == 0
        assert await status(owner, order) == "pending"
        await elapse(owner, 2)
        assert await expired() == 1
    assert await status(owner, order) == "expired"
