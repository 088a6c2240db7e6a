"""The tickets service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.stores import open_stores
from backend.kernel.settings import Settings
from backend.kernel.web import Service, ServiceState
from backend.tickets.routes import routes

NEEDS = ("database:tickets", "redis_url", "jwt_public_keys")


def service(settings: Settings) -> Service:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServiceState]:
        async with open_stores(settings, "tickets") as stores:
            yield ServiceState(stores, stores.checks())

    return Service("tickets", routes, lifespan)
