"""The orders service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel.settings import Settings
from backend.kernel.web import Service, ServiceState
from backend.orders.routes import OrdersState, routes

NEEDS = ("database:orders", "redis_url", "jwt_public_keys")


def service(settings: Settings) -> Service:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServiceState]:
        async with open_resources(settings, "orders") as resources:
            yield ServiceState(OrdersState(settings, resources), resources.checks())

    return Service("orders", routes, lifespan)
