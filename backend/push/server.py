"""How uvicorn serves the gateway: our socket class, no compression, and a drain before everything is closed."""

import uvicorn
from starlette.applications import Starlette

from backend.kernel.server import Server, configured
from backend.push.gateway import Gateway
from backend.push.settings import GatewaySettings
from backend.push.uvicorn_protocol import PushSocket

# After the drain only HTTP requests and a few stubborn sockets are left.
STOP_SECONDS = 5


def uvicorn_config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """Pings are the protocol's own; compression would need a frame a socket, and cost more than it saves here."""
    settings: GatewaySettings = app.state.settings
    return configured(
        app,
        host=host,
        port=port,
        ws=PushSocket,
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        stop_seconds=STOP_SECONDS,
    )


class GatewayServer(Server):
    """uvicorn says 1012 to everybody at once; here they have left before, one after the other."""

    async def leave(self) -> None:
        await super().leave()
        gateway: Gateway = self.lifespan.state["gateway"]
        await gateway.drain()
