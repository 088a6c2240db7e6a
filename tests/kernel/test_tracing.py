"""Tracing is not imported until it is on, and never delays the work."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from backend.kernel import tracing
from backend.kernel.settings import SettingsError, load

OFF = """
import sys
import backend.cli, backend.bootstrap, workers.main
# redis-py looks for OpenTelemetry's metrics by itself, where the packages are installed.
ours = ("opentelemetry.exporter", "opentelemetry.sdk.trace.export", "google.protobuf")
assert not [name for name in sys.modules if name.startswith(ours)]
"""

FLOOD = """
import os, time
from uuid import uuid4
from backend.kernel import tracing
from backend.kernel.settings import load

tracing.configure(load(os.environ), service="gittix-tests")
began = time.monotonic()
for _ in range(5_000):
    tracing.record_span("a span", uuid4(), time.time())
print(time.monotonic() - began)
began = time.monotonic()
tracing.stop()
print(time.monotonic() - began, flush=True)
os._exit(0)
"""


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_nothing_is_loaded_until_an_endpoint_is_set() -> None:
    subprocess.run([sys.executable, "-c", OFF], check=True)


def test_an_endpoint_without_the_packages_is_an_error_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    with pytest.raises(SettingsError, match=r"install gittix\[tracing\], or unset it"):
        tracing.configure(settings, service="gittix-tests")


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        load({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})


def test_a_collector_that_never_replies_delays_neither_work_nor_shutdown(silent: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLOOD],
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": silent},
        capture_output=True,
        text=True,
        check=True,
    )
    working, ending = (float(line) for line in done.stdout.split())
    # More than twice as many spans as may wait, in less time than one export is given.
    assert working < tracing.EXPORT_SECONDS
    assert ending < tracing.STOP_SECONDS + 1
