"""Fault injection: settings that make the sandbox fail on purpose. In memory, so a restart resets
them.
"""

from typing import Annotated, Any

import msgspec

from backend.stripe_sandbox.execution import Failure

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_Millis = Annotated[int, msgspec.Meta(ge=0, le=600_000)]


class WebhookFaults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    paused: bool = False
    delay_ms: _Millis = 0
    duplicate: bool = False
    shuffle: bool = False


class FaultSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`latency_ms`, `hang` and `fail_next` apply to the requests whose method and path, such as
    "POST /v1/refunds", contain `match`.
    """

    match: str = ""
    latency_ms: _Millis = 0
    # The number of requests that take effect and get no reply.
    hang: _Count = 0
    # The number of requests that get a 500, before or after they took effect.
    fail_next: _Count = 0
    fail_when: Failure = "before"
    webhooks: WebhookFaults = msgspec.field(default_factory=WebhookFaults)


class Faults:
    def __init__(self) -> None:
        self.current = FaultSettings()

    def change(self, given: dict[str, Any]) -> FaultSettings:
        """Change the given settings, keep the others. Raises `msgspec.ValidationError`, and
        TypeError when `webhooks` is not an object.
        """
        settings = msgspec.to_builtins(self.current)
        webhooks = {**settings["webhooks"], **given.pop("webhooks", {})}
        self.current = msgspec.convert({**settings, **given, "webhooks": webhooks}, FaultSettings)
        return self.current

    def clear(self) -> None:
        self.current = FaultSettings()

    def take_latency(self, line: str) -> float:
        """The seconds to wait before this request is performed."""
        return self.current.latency_ms / 1000 if self.current.match in line else 0.0

    def take_failure(self, line: str) -> Failure | None:
        if not self.current.fail_next or self.current.match not in line:
            return None
        self.current.fail_next -= 1
        return self.current.fail_when

    def take_hang(self, line: str) -> bool:
        if not self.current.hang or self.current.match not in line:
            return False
        self.current.hang -= 1
        return True
