"""The payments service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from backend.events.stores import open_stores
from backend.kernel.jobs import open_jobs
from backend.kernel.settings import Settings
from backend.kernel.web import Service, ServiceState
from backend.payments.provider import Provider
from backend.payments.routes import PaymentsState, routes
from backend.payments.settlement import Settlement

NEEDS = (
    "database:payments",
    "redis_url",
    "jwt_public_keys",
    "stripe_api_key",
    "stripe_webhook_secrets",
)


def service(settings: Settings) -> Service:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServiceState]:
        jobs = open_jobs(settings.redis_url, name="gittix-payments-jobs")
        provider = Provider(settings.stripe_api_key, settings.stripe_api_base)
        try:
            async with open_stores(settings, "payments") as stores:
                settlement = Settlement(stores, provider)
                window = timedelta(seconds=settings.refund_window_seconds)
                state = PaymentsState(stores, settlement, jobs, settings.webhook_secrets, window)
                yield ServiceState(state, stores.checks())
        finally:
            await provider.close()
            await jobs.aclose()

    return Service("payments", routes, lifespan)
