"""The tickets service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel.settings import Settings
from backend.kernel.web import Service, ServiceState
from backend.tickets.routes import routes

NEEDS = ("database:tickets", "redis_url", "jwt_public_keys")


def service(settings: Settings) -> Service:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServiceState]:
        async with open_resources(settings, "tickets") as resources:
            yield ServiceState(resources, resources.checks())

    return Service("tickets", routes, lifespan)
