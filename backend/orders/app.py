"""The orders service as a component: its routes, and a lifespan that opens their resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel import trusted_proxies
from backend.kernel.settings import Settings
from backend.kernel.web import Component, ComponentState
from backend.orders.routes import OrdersState, routes

NEEDS = ("database:orders", "redis_url", "jwt_public_keys")


def component(settings: Settings) -> Component:
    proxies = trusted_proxies.parse(settings.trusted_proxies)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        async with open_resources(settings, "orders") as resources:
            yield ComponentState(OrdersState(settings, resources, proxies), resources.checks())

    return Component("orders", routes, lifespan)
