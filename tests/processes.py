"""The settings that each process needs, for tests of compose.yaml and k8s/."""

import re
from collections.abc import Sequence

from backend.bootstrap import NEEDS as SERVICE_NEEDS
from backend.kernel.settings import ROLES, Settings
from workers.main import NEEDS as WORKER_NEEDS

SETTINGS = frozenset(name.upper() for name in Settings.__struct_fields__)
# The OpenTelemetry SDK reads its own.
TELEMETRY = re.compile(r"OTEL_[A-Z_]+")
# Beyond its needs: signing out everywhere calls the HTTP API of the gateway, or of hosted Pusher in
# its place.
EXTRA_SETTINGS = {"auth": frozenset({"PUSHER_SECRET"})}


def needs(arguments: Sequence[str]) -> tuple[str, ...]:
    """The needs of `gittix` with these arguments, as `settings.load` takes them."""
    match arguments:
        case ["serve", service, *_]:
            return SERVICE_NEEDS[service]
        case ["worker", *parts]:
            return tuple(need for part in parts or WORKER_NEEDS for need in WORKER_NEEDS[part])
        case ["relay"]:
            return ("database:relay", "redis_url")
        case ["migrate"]:
            return ("database_url", *(f"database:{role}" for role in ROLES))
        case ["check", *_]:
            return ("database:check", "redis_url", "push_redis_url")
        case ["sandbox", *_]:
            return ("stripe_api_key", "stripe_webhook_secrets")
    return ()
