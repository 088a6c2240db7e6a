"""Short waits for the tests of the notifier."""

import pytest

import workers.notifier
from backend.kernel import lease as leases


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(workers.notifier, "BLOCK_MS", 100)
