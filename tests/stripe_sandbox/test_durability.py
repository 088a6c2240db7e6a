"""The ledger survives kill -9, and each event until its delivery."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.stripe_sandbox.conftest import KEY, Receiver, Sandbox, eventually, running

pytestmark = pytest.mark.timeout(20)

_PROCESS = """
import sys, pathlib, uvicorn
from backend.stripe_sandbox.app import SandboxSettings, build
uvicorn.run(build(SandboxSettings(database=pathlib.Path(sys.argv[1]))), fd=int(sys.argv[2]), log_level="error", ws="none")
"""


def test_restart_keeps_the_ledger_and_its_keys(database: Path) -> None:
    with running(database) as sandbox:
        intent = sandbox.authorised(options={"idempotency_key": "k"})
    with running(database) as sandbox:
        assert sandbox.api.payment_intents.retrieve(intent.id).status == "requires_capture"
        assert sandbox.authorised(options={"idempotency_key": "k"}).id == intent.id
        assert sandbox.api.payment_intents.capture(intent.id).status == "succeeded"
        assert len(sandbox.event_types()) == 5


def test_answered_request_survives_kill_9(database: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url, fd = f"http://127.0.0.1:{listener.getsockname()[1]}", listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(database), str(fd)], pass_fds=[fd]
        )
        try:
            eventually(lambda: _answers(url), seconds=10)
            form = {"amount": "2000", "currency": "usd", "metadata[order_id]": "o1"}
            reply = httpx.post(f"{url}/v1/payment_intents", data=form, auth=(KEY, ""))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with running(database) as sandbox:
        kept = sandbox.http.get(f"/v1/payment_intents/{reply.json()['id']}").json()
    assert kept == reply.json()


def test_webhooks_are_signed_and_delivered(database: Path, receiver: Receiver) -> None:
    with running(database, **receiver.settings) as sandbox:
        intent = sandbox.authorised()
        eventually(lambda: _delivered(sandbox))
        assert sorted(event.type for event in receiver.events) == sorted(sandbox.event_types())
        assert {event.data.object["object"] for event in receiver.events} == {
            "payment_intent",
            "charge",
        }
        assert any(event.data.object["id"] == intent.id for event in receiver.events)


def test_refused_webhook_is_tried_again_until_it_is_taken(
    database: Path, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302, 400]
    with running(database, **receiver.settings) as sandbox:
        sandbox.created()
        eventually(lambda: _delivered(sandbox))
    assert (receiver.attempts, len(receiver.events)) == (4, 1)


def test_webhook_is_abandoned_after_a_bounded_number_of_tries(
    database: Path, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 10
    with running(database, webhook_attempts=3, **receiver.settings) as sandbox:
        sandbox.created()
        eventually(lambda: sandbox.ledger()["totals"]["webhooks"] == {"pending": 0, "abandoned": 1})
    assert receiver.attempts == 3


def test_undelivered_webhooks_go_out_after_a_restart(database: Path, receiver: Receiver) -> None:
    with running(database, **receiver.settings) as sandbox:
        sandbox.faults(webhooks={"paused": True})
        sandbox.authorised()
        time.sleep(0.1)
        assert sandbox.ledger()["totals"]["webhooks"]["pending"] == 3
    assert not receiver.events
    with running(database, **receiver.settings) as sandbox:
        eventually(lambda: _delivered(sandbox))
    assert len({event.id for event in receiver.events}) == 3


def test_webhooks_come_late_and_twice_when_configured(database: Path, receiver: Receiver) -> None:
    with running(database, **receiver.settings) as sandbox:
        sandbox.faults(webhooks={"delay_ms": 300, "duplicate": True, "shuffle": True})
        started = time.monotonic()
        sandbox.authorised()
        eventually(lambda: _delivered(sandbox))
        assert time.monotonic() - started > 0.3
    ids = [event.id for event in receiver.events]
    assert (len(ids), len(set(ids))) == (6, 3)


def test_webhook_without_a_secret_is_refused_at_start(database: Path) -> None:
    with (
        pytest.raises(ValueError, match="webhook_secret"),
        running(database, webhook_url="http://127.0.0.1:1"),
    ):
        pass


def _delivered(sandbox: Sandbox) -> bool:
    return bool(sandbox.ledger()["totals"]["webhooks"] == {"pending": 0, "abandoned": 0})


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False
