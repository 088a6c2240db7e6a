"""The tickets service as a component: its routes, and a lifespan that opens their resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel.settings import Settings
from backend.kernel.web import Component, ComponentState
from backend.tickets.routes import routes

NEEDS = ("database:tickets", "redis_url", "jwt_public_keys")


def component(settings: Settings) -> Component:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        async with open_resources(settings, "tickets") as resources:
            yield ComponentState(resources, resources.checks())

    return Component("tickets", routes, lifespan)
