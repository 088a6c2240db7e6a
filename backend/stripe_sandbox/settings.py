"""The settings of a sandbox process. The caller passes them: none is read from the environment."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

API_VERSION = "2026-10-28.endive"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    database: Path
    api_key: str = "sk_test_sandbox"
    webhook_url: str | None = None
    webhook_secret: str | None = None
    # The base URL of the 3-D Secure page for the buyer's browser. By default, the one with which
    # the merchant calls the sandbox.
    public_url: str | None = None
    webhook_timeout_seconds: float = 5.0
    webhook_retry_base_seconds: float = 0.5
    webhook_retry_cap_seconds: float = 10.0
    webhook_attempts: int = 100
    key_lifetime_seconds: int = 24 * 3600
    max_body_bytes: int = 64 * 1024
    max_waiting_jobs: int = 1_000
    hang_seconds: float = 120.0
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not self.api_key.startswith("sk_test_"):
            raise ValueError("the sandbox takes test keys only: api_key must start with sk_test_")
        if self.webhook_url and not self.webhook_secret:
            raise ValueError(
                "a webhook_url needs a webhook_secret: the receiver would refuse unsigned webhooks"
            )
