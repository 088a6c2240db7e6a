"""Signs events, and delivers each until the receiver responds with 2xx.

The queue is rows beside the events, written in the transaction of the change. After a restart, an
undelivered event is sent, and an event that was delivered but not marked is sent again, as Stripe
may do. A delivery is retried a bounded number of times with growing delays and then abandoned, as
`/sandbox/ledger` shows. Events arrive in no guaranteed order.
"""

import asyncio
import hashlib
import hmac
import logging
import random

import httpx

from backend.stripe_sandbox.faults import Faults
from backend.stripe_sandbox.ledger import Ledger
from backend.stripe_sandbox.queries import Delivery
from backend.stripe_sandbox.settings import SandboxSettings

logger = logging.getLogger(__name__)

_BATCH = 32
_POLL_SECONDS = 0.1
_SHUFFLE_SECONDS = 0.25
_random = random.Random()  # noqa: S311 - jitter, not a secret


def sign(payload: bytes, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` header (docs.stripe.com/webhooks#verify-manually)."""
    digest = hmac.new(
        secret.encode(), f"{timestamp}.".encode() + payload, hashlib.sha256
    ).hexdigest()
    return f"t={timestamp},v1={digest}"


class WebhookSender:
    def __init__(
        self, settings: SandboxSettings, ledger: Ledger, faults: Faults, client: httpx.AsyncClient
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._faults = faults
        self._client = client
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled. An error of the loop is logged, and the loop continues."""
        if self._settings.webhook_url is None:
            return
        while True:
            try:
                delivered = await self._deliver_due()
            except Exception:
                logger.exception("webhook delivery failed")
                delivered = 0
            if delivered < _BATCH:
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _deliver_due(self) -> int:
        knobs = self._faults.current.webhooks
        if knobs.paused:
            return 0
        until = self._settings.clock() - knobs.delay_ms / 1000
        due = await self._ledger.run(lambda book: book.due_deliveries(until, _BATCH))
        if knobs.shuffle:
            _random.shuffle(due)
        async with asyncio.TaskGroup() as group:
            for delivery in due:
                group.create_task(self._deliver(delivery))
        return len(due)

    async def _deliver(self, delivery: Delivery) -> None:
        knobs = self._faults.current.webhooks
        if knobs.shuffle:
            await asyncio.sleep(_random.uniform(0, _SHUFFLE_SECONDS))
        accepted = await self._post(delivery)
        if knobs.duplicate:
            await self._post(delivery)
        if accepted:
            await self._ledger.run(lambda book: book.finish_delivery(delivery.event_seq))
        else:
            await self._postpone(delivery)

    async def _post(self, delivery: Delivery) -> bool:
        url, secret = self._settings.webhook_url, self._settings.webhook_secret
        assert url, "deliveries are only queued for a configured webhook"
        assert secret, "settings refuse a webhook without a secret"
        payload = delivery.payload.encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": sign(payload, secret, int(self._settings.clock())),
        }
        try:
            # httpx's timeout bounds each read; this one bounds the whole exchange.
            async with asyncio.timeout(self._settings.webhook_timeout_seconds):
                response = await self._client.post(url, content=payload, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            logger.info("webhook not delivered: %s", repr(error))
            return False
        return response.is_success

    async def _postpone(self, delivery: Delivery) -> None:
        settings = self._settings
        pause = min(
            settings.webhook_retry_base_seconds * 2 ** min(delivery.attempts, 30),
            settings.webhook_retry_cap_seconds,
        )
        due_at = settings.clock() + pause * _random.uniform(0.5, 1.0)
        abandon = delivery.attempts + 1 >= settings.webhook_attempts
        await self._ledger.run(
            lambda book: book.postpone_delivery(delivery.event_seq, due_at, abandon=abandon)
        )
