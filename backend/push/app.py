"""The push service as a Starlette app: the socket at /app/{key}, Pusher's HTTP API, health and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from backend.kernel import operations
from backend.kernel.supervised import running
from backend.push import api
from backend.push.firehose import CHANNEL, TASK, Firehose
from backend.push.gateway import Gateway
from backend.push.settings import GatewaySettings

# Clients wait while the reader does: it looks for a returning Redis once a second.
MAX_DELAY_SECONDS: Final = 1.0


def build_gateway(settings: GatewaySettings) -> Starlette:
    app = Starlette(
        routes=[
            WebSocketRoute("/app/{key}", socket),
            WebSocketRoute("/{path:path}", socket),
            *api.routes(),
            *operations.routes(),
        ],
        lifespan=partial(_lifespan, settings),
    )
    app.state.settings = settings
    return app


@asynccontextmanager
async def _lifespan(settings: GatewaySettings, app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001
    firehose = Firehose(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
    gateway = Gateway(settings, firehose)
    async with (
        Broadcast(backend=firehose) as broadcast,
        broadcast.subscribe(CHANNEL) as subscription,
        running(
            (TASK, firehose.read),
            ("push delivery", partial(gateway.deliver, subscription)),
            max_delay=MAX_DELAY_SECONDS,
        ),
    ):
        yield {"gateway": gateway, "checks": gateway.checks()}


async def socket(websocket: WebSocket) -> None:
    gateway: Gateway = websocket.state.gateway
    await gateway.serve(websocket)
