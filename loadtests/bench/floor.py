"""The floors: a Starlette endpoint with a hold's writes in one statement, and one that refuses.

No authentication, no idempotency, no limits, no lock order: one update and a hold's inserts.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

POOL = 10
# The plan is made once and uses indexes, like those of our functions: the lowest floor.
SESSION = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

# $1 ticket, $2 order, $3 buyer. As many rows, as wide, on the same tables and indexes.
HOLD = """
with held as (
    update tickets.tickets t
    set status = 'held', order_id = $2::uuid, held_until = now() + interval '1 hour',
        version = t.version + 1, updated_at = now()
    where t.id = $1::uuid and t.status = 'available'
    returning t.*, t as ticket, coalesce((
        select s.handle from tickets.sellers s where s.id = t.seller_id
    ), '') as handle
), ordered as (
    insert into orders.orders
        (id, number, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry)
    select $2::uuid, orders.random_number(), $3::uuid, price, 100, price + 100, currency,
        now() + interval '1 hour', now() + interval '2 hours'
    from held
    returning orders as state
), lined as (
    insert into orders.lines
        (order_id, buyer_id, ticket_id, show_id, seller_id, price, fee, section, "row", seat,
         show_title, show_venue, show_city, show_starts_at, show_timezone)
    select $2::uuid, $3::uuid, held.id, show_id, seller_id, price, 100, section, "row", seat,
        s.title, s.venue, s.city, s.starts_at, s.timezone
    from held join tickets.shows s on s.id = held.show_id
    returning orders.line(lines) as state
), appended as (
    insert into events.outbox (type, subject, version, data)
    select 'ticket.held', id, version, tickets.state(ticket, handle) from held
    union all
    select 'order.created', (ordered.state).id, 1,
        orders.state(ordered.state, json_build_array(lined.state))
    from ordered, lined
)
select (state).id, (state).total from ordered
"""

REFUSE = "select status from tickets.tickets where id = $1"


async def hold(request: Request) -> JSONResponse:
    body = await request.json()
    pool: asyncpg.Pool = request.state.pool
    async with pool.acquire() as connection:
        row = await connection.fetchrow(HOLD, UUID(body["ticket_id"]), uuid4(), uuid4())
    assert row is not None
    return JSONResponse({"id": str(row["id"]), "total": row["total"]}, 201)


async def refuse(request: Request) -> JSONResponse:
    body = await request.json()
    pool: asyncpg.Pool = request.state.pool
    async with pool.acquire() as connection:
        status = await connection.fetchval(REFUSE, UUID(body["ticket_id"]))
    return JSONResponse({"status": status}, 409)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    pool = asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL, server_settings=SESSION
    )
    async with pool:
        yield {"pool": pool}


app = Starlette(
    routes=[Route("/hold", hold, methods=["POST"]), Route("/refuse", refuse, methods=["POST"])],
    lifespan=lifespan,
)
