"""A gateway as a process of its own, without a database: `python -m loadtests.plain_gateway`, with
its port and the URL of the push log as arguments. Any number of clients may come from one address.
"""

import sys
from typing import Final

import uvloop

from backend.kernel import logs
from backend.push.app import build_gateway
from backend.push.server import GatewayServer, uvicorn_config
from backend.push.settings import GatewaySettings

HOST: Final = "127.0.0.1"
APP_ID, KEY, SECRET = "3", "key", "secret"
DRAIN_SECONDS: Final = 0.5


def main() -> None:
    port, redis_url = int(sys.argv[1]), sys.argv[2]
    settings = GatewaySettings(
        app_id=APP_ID,
        key=KEY,
        secret=SECRET,
        redis_url=redis_url,
        drain_seconds=DRAIN_SECONDS,
        max_connections_per_address=20_000,
    )
    logs.configure(level="warning", style="console")
    uvloop.run(GatewayServer(uvicorn_config(build_gateway(settings), HOST, port)).serve())


if __name__ == "__main__":
    main()
