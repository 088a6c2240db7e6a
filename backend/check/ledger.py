"""What the payment provider has on its books for our orders.

The sandbox shows its whole ledger, newest first. Stripe itself is asked for the intents of our newest rows, by the
official library.
"""

import asyncio
import ssl
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import stripe

from backend.check.finding import QUERY_SECONDS, QUIET
from backend.kernel.database import Connection
from backend.kernel.settings import Settings

SANDBOX_LEDGER = "/sandbox/ledger"
PAGE = 1_000
MOST = 20_000
CALL_SECONDS = 10.0
# Of Stripe itself; its rate limit is for those who buy.
MOST_ASKED = 100
ASKED_AT_ONCE = 4

NEWEST = f"""
    select p.intent_id, p.order_id from payments.payments p
    where p.intent_id is not null and p.updated_at < now() - {QUIET}
    order by p.updated_at desc limit {MOST_ASKED}
"""


class Unread(Exception):
    """The ledger was not read; the message is a sentence."""

    def __init__(self, why: str, *, is_fault: bool = True) -> None:
        super().__init__(why)
        self.is_fault = is_fault


class Intent(NamedTuple):
    """What an intent did with the buyer's money, in minor units. `order_id` is as its metadata say."""

    id: str
    order_id: UUID | None
    currency: str
    received: int
    capturable: int
    returned: int
    created_at: datetime

    @property
    def taken(self) -> int:
        return self.received - self.returned


class Ledger(NamedTuple):
    """`since`: every intent that was made from then on is here. None when only the named orders' were asked for."""

    intents: list[Intent]
    since: datetime | None
    note: str = ""


async def read(rows: Connection, settings: Settings) -> Ledger:
    """Raises Unread."""
    if not settings.stripe_api_key:
        raise Unread("STRIPE_API_KEY is not set, so the ledger was not looked at", is_fault=False)
    if (urlsplit(settings.stripe_api_base).hostname or "").endswith("stripe.com"):
        return await ask_stripe(rows, settings)
    return await _read_sandbox(settings)


async def _read_sandbox(settings: Settings) -> Ledger:
    headers = {"Authorization": f"Bearer {settings.stripe_api_key}"}
    lines: list[dict[str, Any]] = []
    try:
        async with httpx.AsyncClient(
            base_url=settings.stripe_api_base,
            headers=headers,
            timeout=CALL_SECONDS,
            verify=_certificates(),
        ) as http:
            more = True
            while more and len(lines) < MOST:
                after = {"starting_after": lines[-1]["id"]} if lines else {}
                reply = await http.get(SANDBOX_LEDGER, params={"limit": PAGE} | after)
                page = reply.raise_for_status().json()
                lines += page["data"]
                more = page["has_more"]
    except (httpx.HTTPError, ValueError) as fault:
        raise Unread(
            f"the ledger at {settings.stripe_api_base} can't be read: {fault!r}"
        ) from fault
    intents = [_intent(line, line["refunded"] + line["refund_pending"]) for line in lines]
    return Ledger(intents, intents[-1].created_at if more else datetime.min.replace(tzinfo=UTC))


@cache
def _certificates() -> ssl.SSLContext:
    """Loading this machine's takes longer than reading a page of the ledger."""
    return ssl.create_default_context()


async def ask_stripe(rows: Connection, settings: Settings) -> Ledger:
    """The intents of our newest rows. Raises Unread."""
    found = await rows.fetch(NEWEST, timeout=QUERY_SECONDS)
    http = stripe.HTTPXClient(timeout=CALL_SECONDS)
    client = stripe.StripeClient(
        settings.stripe_api_key,
        base_addresses={"api": settings.stripe_api_base},
        http_client=http,
        max_network_retries=1,
    )
    places = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(intent_id: str) -> Intent:
        async with places:
            intent = await client.v1.payment_intents.retrieve_async(
                intent_id, {"expand": ["latest_charge"]}
            )
            charge: Any = intent.latest_charge
            returned = charge.amount_refunded if charge else 0
            return _intent(intent.to_dict(), returned)

    try:
        intents = await asyncio.gather(
            *(ask(intent_id) for intent_id in {row["intent_id"] for row in found})
        )
    except stripe.StripeError as fault:
        raise Unread(f"Stripe does not answer: {fault!r}") from fault
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
    return Ledger(
        intents, None, f"of Stripe's ledger only the newest {len(intents)} intents of our rows"
    )


def _intent(line: dict[str, Any], returned: int) -> Intent:
    return Intent(
        line["id"],
        _order_id(line.get("metadata") or {}),
        line["currency"].upper(),
        line["amount_received"],
        line["amount_capturable"],
        returned,
        datetime.fromtimestamp(line["created"], UTC),
    )


def _order_id(metadata: dict[str, str]) -> UUID | None:
    try:
        return UUID(metadata["order_id"])
    except (KeyError, ValueError):
        return None
