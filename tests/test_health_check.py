"""The health check of a container, run as the container runs it."""

import asyncio
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import health_check

FILE = Path(health_check.__file__)


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()
        self.wfile.write(b"redis: ConnectionError")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_only_a_200_is_healthy_and_the_body_is_returned(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_check, "PORTS", (1, port))
    assert health_check.probe("/healthz") == (True, "redis: ConnectionError")
    assert health_check.probe("/readyz") == (False, "redis: ConnectionError")


def test_no_open_port_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_check, "PORTS", (1, 2))
    assert health_check.probe("/healthz") == (False, "nothing listens on any of 1, 2")


async def test_the_health_check_runs_without_installed_packages() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(FILE), "/nowhere"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complained = await process.communicate()
    assert process.returncode in {0, 1}
    assert not complained
