"""Every store of idempotency keys keeps one contract. The controls break each clause of it once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.responses import Response

from backend.kernel import database, idempotency
from backend.kernel.database import Connection, Pool
from backend.kernel.idempotency import Claim, KeyedRequest, KeyTable, Reply, State
from backend.payments.idempotency_queries import RowKeys
from tests.idempotency import contract
from tests.idempotency.routes import ROUTES, ChangeTicket, KeyedRoute, Pay, Refund
from tests.payments.shop import Shop

Clause = Callable[[KeyedRoute], Awaitable[None]]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("clause", contract.CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("kind", ROUTES)
async def test_a_store_keeps_the_contract(
    shop: Shop, kind: type[KeyedRoute], clause: Clause
) -> None:
    route = kind(shop)
    await route.arrange()
    await clause(route)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 402, 403, 404, 422])
def test_a_final_reply_is_stored(status: int) -> None:
    assert idempotency.is_stored(status)


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
def test_a_reply_that_may_change_is_not_stored(status: int) -> None:
    assert not idempotency.is_stored(status)


# The negative controls: each fault breaks one clause.


def finds_no_key(patch: Patch) -> None:
    async def claim(_self: KeyTable, _connection: Connection, _request: KeyedRequest) -> Claim:
        return Claim(State.NEW)

    patch.setattr(KeyTable, "claim", claim)


def compares_no_body(patch: Patch) -> None:
    async def fingerprint(_request: Request) -> bytes:
        return b"the same"

    patch.setattr(idempotency, "fingerprint", fingerprint)


def shares_keys_between_users(patch: Patch) -> None:
    own = idempotency.keyed

    async def keyed(request: Request, _user_id: UUID) -> KeyedRequest | None:
        return await own(request, UUID(int=0))

    patch.setattr(idempotency, "keyed", keyed)


def locks_no_key(patch: Patch) -> None:
    claim = KeyTable.claim

    async def unlocked(self: KeyTable, connection: Connection, request: KeyedRequest) -> Claim:
        found = await claim(self, connection, request)
        await connection.execute("select pg_advisory_unlock_all()")
        return Claim(State.NEW) if found.state is State.IN_FLIGHT else found

    patch.setattr(KeyTable, "claim", unlocked)


def stores_before_the_work(patch: Patch) -> None:
    once = idempotency.once

    async def early(
        request: Request,
        pool: Pool,
        keys: KeyTable,
        user_id: UUID,
        handler: idempotency.Handler,
    ) -> Response:
        keyed = await idempotency.keyed(request, user_id)
        if keyed is not None:
            async with database.transaction(pool) as connection:
                found = await keys.claim(connection, keyed)
                if found.state is State.NEW:
                    await keys.store(connection, keyed, Reply(200, {}, b"{}"))
                    keyed = None
        if keyed is not None:
            return await once(request, pool, keys, user_id, handler)
        async with database.transaction(pool) as connection:
            return await handler(connection)

    patch.setattr(idempotency, "once", early)


def stores_conflicts(patch: Patch) -> None:
    patch.setattr(idempotency, "is_stored", lambda _status: True)


def keeps_keys_for_ever(patch: Patch) -> None:
    patch.setattr(idempotency, "RETENTION", timedelta(days=10_000))


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        (finds_no_key, contract.a_repeat_gets_the_same_bytes_and_has_no_effect),
        (compares_no_body, contract.a_key_of_another_body_is_refused),
        (shares_keys_between_users, contract.a_key_is_its_users_own),
        (locks_no_key, contract.a_repeat_waits_for_the_first_request),
        (locks_no_key, contract.repeats_at_the_same_time_have_one_effect),
        (stores_before_the_work, contract.a_crash_before_the_commit_leaves_nothing),
        (stores_conflicts, contract.a_conflict_is_not_stored),
        (keeps_keys_for_ever, contract.a_key_is_new_again_after_a_day),
    ],
    ids=lambda parameter: parameter.__name__,
)
async def test_a_broken_store_fails_its_clause(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Patch], None], clause: Clause
) -> None:
    route = ChangeTicket(shop)
    await route.arrange()
    fault(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError)):
        await clause(route)


@pytest.mark.parametrize("kind", [Pay, Refund])
async def test_a_repeat_that_reads_its_key_before_the_first_request_wrote_it_gets_the_reply(
    shop: Shop, kind: type[KeyedRoute], monkeypatch: pytest.MonkeyPatch
) -> None:
    route = kind(shop)
    await route.arrange()
    first = await route.send("once")
    claim = RowKeys.claim
    early: list[KeyedRequest] = []

    async def too_early(keys: RowKeys, connection: Connection, request: KeyedRequest) -> Claim:
        if early:
            return await claim(keys, connection, request)
        early.append(request)
        return Claim(State.NEW)

    monkeypatch.setattr(RowKeys, "claim", too_early)
    again = await route.send("once")
    assert early
    assert (again.status_code, again.content) == (first.status_code, first.content)
