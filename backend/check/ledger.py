"""Reads the payment intents of our orders from the payment provider.

The sandbox returns its whole ledger, newest first. From Stripe, the intents of our newest payments
are retrieved by the official library.
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

from backend.check.result import QUERY_SECONDS, QUIET
from backend.kernel.database import Connection
from backend.kernel.settings import Settings

SANDBOX_LEDGER = "/sandbox/ledger"
PAGE = 1_000
MAX_INTENTS = 20_000
CALL_SECONDS = 10.0
# Few intents are retrieved from Stripe, since its rate limit is needed for purchases.
MAX_STRIPE_READS = 100
CONCURRENT_READS = 4

NEWEST = f"""
    select p.intent_id, p.order_id from payments.payments p
    where p.intent_id is not null and p.updated_at < now() - {QUIET}
    order by p.updated_at desc limit {MAX_STRIPE_READS}
"""


class LedgerError(Exception):
    """The ledger was not read; the message is a sentence.

    `is_error` is false when the settings name no ledger.
    """

    def __init__(self, reason: str, *, is_error: bool = True) -> None:
        super().__init__(reason)
        self.is_error = is_error


class Intent(NamedTuple):
    """The amounts of an intent in Stripe's units; `order_id` is from its metadata.

    `refunded` includes refunds under way. `taken` is the money that we keep.
    """

    id: str
    order_id: UUID | None
    currency: str
    received: int
    capturable: int
    refunded: int
    created_at: datetime

    @property
    def taken(self) -> int:
        return self.received - self.refunded


class Ledger(NamedTuple):
    """The intents read.

    Every intent created from `since` on is included; None when only single intents were retrieved.
    """

    intents: list[Intent]
    since: datetime | None
    note: str = ""


async def read(rows: Connection, settings: Settings) -> Ledger:
    """Read the intents from the sandbox or from Stripe. Raises LedgerError."""
    if not settings.stripe_api_key:
        raise LedgerError(
            "STRIPE_API_KEY is not set, so the ledger was not examined", is_error=False
        )
    if (urlsplit(settings.stripe_api_base).hostname or "").endswith("stripe.com"):
        return await read_stripe(rows, settings)
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
            while more and len(lines) < MAX_INTENTS:
                after = {"starting_after": lines[-1]["id"]} if lines else {}
                reply = await http.get(SANDBOX_LEDGER, params={"limit": PAGE} | after)
                page = reply.raise_for_status().json()
                lines += page["data"]
                more = page["has_more"]
    except (httpx.HTTPError, ValueError) as error:
        raise LedgerError(
            f"the ledger at {settings.stripe_api_base} can't be read: {error!r}"
        ) from error
    intents = [_intent(line, line["refunded"] + line["refund_pending"]) for line in lines]
    return Ledger(intents, intents[-1].created_at if more else datetime.min.replace(tzinfo=UTC))


@cache
def _certificates() -> ssl.SSLContext:
    """Return the machine's certificates, cached: loading them is slow."""
    return ssl.create_default_context()


async def read_stripe(rows: Connection, settings: Settings) -> Ledger:
    """Retrieve the intents of our newest payments from Stripe. Raises LedgerError."""
    found = await rows.fetch(NEWEST, timeout=QUERY_SECONDS)
    http = stripe.HTTPXClient(timeout=CALL_SECONDS)
    client = stripe.StripeClient(
        settings.stripe_api_key,
        base_addresses={"api": settings.stripe_api_base},
        http_client=http,
        max_network_retries=1,
    )
    slots = asyncio.Semaphore(CONCURRENT_READS)

    async def retrieve(intent_id: str) -> Intent:
        async with slots:
            intent = await client.v1.payment_intents.retrieve_async(
                intent_id, {"expand": ["latest_charge"]}
            )
            charge: Any = intent.latest_charge
            refunded = charge.amount_refunded if charge else 0
            return _intent(intent.to_dict(), refunded)

    try:
        intents = await asyncio.gather(
            *(retrieve(intent_id) for intent_id in {row["intent_id"] for row in found})
        )
    except stripe.StripeError as error:
        raise LedgerError(f"Stripe does not answer: {error!r}") from error
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
    return Ledger(
        intents,
        None,
        f"only the newest {len(intents)} intents of our payments were read from Stripe",
    )


def _intent(line: dict[str, Any], refunded: int) -> Intent:
    return Intent(
        line["id"],
        _order_id(line.get("metadata") or {}),
        line["currency"].upper(),
        line["amount_received"],
        line["amount_capturable"],
        refunded,
        datetime.fromtimestamp(line["created"], UTC),
    )


def _order_id(metadata: dict[str, str]) -> UUID | None:
    try:
        return UUID(metadata["order_id"])
    except (KeyError, ValueError):
        return None
