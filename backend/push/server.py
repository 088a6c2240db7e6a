"""Serves the gateway by uvicorn, with sockets of our own and a drain before shutdown."""

import asyncio
import socket
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette

from backend.kernel.http_protocol import Bounds
from backend.kernel.server import Server, server_config
from backend.push.address_limit import AddressLimit
from backend.push.apps import Apps
from backend.push.gateway_http import GatewayHttp
from backend.push.intake import Intake
from backend.push.settings import GatewaySettings

# After the drain, only HTTP requests and a few sockets with an unfinished closing handshake are
# left.
STOP_SECONDS = 5


def uvicorn_config(
    app: Starlette, host: str, port: int, bounds: Bounds | None = None
) -> uvicorn.Config:
    """Return uvicorn's configuration.

    Sockets have no pings of WebSocket, since Pusher's protocol has its own, and no compression,
    since it needs a separate frame for each socket and costs more than it saves.
    """
    settings: GatewaySettings = app.state.settings
    intake = Intake(settings)
    limit = AddressLimit(each=settings.max_connections_per_address)
    return server_config(
        app,
        host=host,
        port=port,
        bounds=bounds or Bounds(connections=settings.max_http_connections),
        http=partial(GatewayHttp, settings=settings, intake=intake, limit=limit),
        # Not called: uvicorn passes handshakes to `GatewayHttp` unless WebSockets are off.
        ws=cast(Any, GatewayHttp),
        stop_seconds=STOP_SECONDS,
    )


class GatewayServer(Server):
    """Drains the gateway before uvicorn closes all remaining sockets at once with 1012."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Accepted sockets have the options of the listening one.

        The kernel takes as many unsent bytes as the option permits, instead of growing its buffer
        to megabytes before `send_buffer_limit_bytes` counts.
        """
        await super().startup(sockets)
        settings: GatewaySettings = cast(Starlette, self._app.app).state.settings
        for listener in (each for server in self.servers for each in server.sockets):
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                listener.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, settings.kernel_send_bytes
                )

    async def drain(self) -> None:
        await super().drain()
        apps: Apps = self.lifespan.state["apps"]
        await asyncio.gather(*(gateway.drain() for gateway in apps))
