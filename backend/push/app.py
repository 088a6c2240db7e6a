"""The push service as a Starlette app: the socket at /app/{key}, Pusher's HTTP API, health and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from backend.kernel import health
from backend.kernel.supervisor import running
from backend.push import api
from backend.push.gateway import Gateway
from backend.push.log_reader import CHANNEL, TASK, PushLogReader
from backend.push.settings import GatewaySettings

# Clients wait while the reader does: it looks for a returning Redis once a second.
MAX_DELAY_SECONDS: Final = 1.0


def build_gateway(settings: GatewaySettings) -> Starlette:
    app = Starlette(
        routes=[
            WebSocketRoute("/app/{key}", socket),
            WebSocketRoute("/{path:path}", socket),
            *api.routes(),
            *health.routes(),
        ],
        lifespan=partial(_lifespan, settings),
    )
    app.state.settings = settings
    return app


@asynccontextmanager
async def _lifespan(settings: GatewaySettings, app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001
    log_reader = PushLogReader(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
    broadcast = Broadcast(backend=log_reader)
    gateway = Gateway(settings, log_reader, broadcast)
    async with (
        broadcast,
        broadcast.subscribe(CHANNEL) as subscription,
        running(
            (TASK, log_reader.read),
            ("push delivery", partial(gateway.deliver, subscription.get)),
            max_delay=MAX_DELAY_SECONDS,
        ),
    ):
        yield {"gateway": gateway, "checks": gateway.checks()}


async def socket(websocket: WebSocket) -> None:
    gateway: Gateway = websocket.state.gateway
    await gateway.serve(websocket)
