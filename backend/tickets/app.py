"""The tickets service as a component: its routes, and a lifespan that opens their resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.events.resources import open_resources
from backend.kernel.conditions import PLANNED_BY_INDEX
from backend.kernel.settings import Settings
from backend.kernel.shared_reads import SharedReads
from backend.kernel.web import Component, ComponentState
from backend.tickets.routes import TicketsState, routes

NEEDS = ("database:tickets", "redis_url", "jwt_public_keys")
# Anyone may send the reads of this service, so none may take long, and each is planned by an index
# that has the order of the list (decision 33). The writes are short too.
SESSION = {"statement_timeout": "2s", **PLANNED_BY_INDEX}


def component(settings: Settings) -> Component:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        async with open_resources(settings, "tickets", **SESSION) as resources:
            state = TicketsState(settings, resources, SharedReads())
            yield ComponentState(state, resources.checks())

    return Component("tickets", routes, lifespan)
