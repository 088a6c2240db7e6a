"""The payments service as a component: its routes, and a lifespan that opens their resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel import trusted_proxies
from backend.kernel.jobs import open_jobs
from backend.kernel.settings import Settings
from backend.kernel.web import Component, ComponentState
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import Provider
from backend.payments.routes import PaymentsState, routes

NEEDS = (
    "database:payments",
    "redis_url",
    "jwt_public_keys",
    "stripe_api_key",
    "stripe_webhook_secrets",
)


def component(settings: Settings) -> Component:
    proxies = trusted_proxies.parse(settings.trusted_proxies)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        jobs = open_jobs(settings.redis_url, name="gittix-payments-jobs")
        provider = Provider(settings.stripe_api_key, settings.stripe_api_base)
        try:
            async with open_resources(settings, "payments") as resources:
                payment_flow = PaymentFlow(resources, provider)
                state = PaymentsState(resources, payment_flow, jobs, settings, proxies)
                yield ComponentState(state, resources.checks())
        finally:
            await provider.close()
            await jobs.aclose()

    return Component("payments", routes, lifespan)
