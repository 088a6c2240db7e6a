"""The command lines and environments of GitTix's own processes in an embedded instance."""

import os
import sys
from collections.abc import Mapping

from backend.embedded.instance import Instance
from backend.embedded.ports import HOST
from backend.embedded.processes import Program

# Their health and metrics are at Unix sockets, as are those of the gateways, which share a port.
# The API's /readyz and /metrics include all of them.
WITHOUT_HTTP = ("relay", "worker", "consumers", "notifier")
# On few cores, requests go before push messages, and these before the work of the consumers.
PUSH_NICENESS, CONSUMERS_NICENESS = 10, 19
INHERITED = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")


def gateway_names(count: int) -> tuple[str, ...]:
    """The names of the gateway's processes."""
    return tuple(f"push-{number}" for number in range(1, count + 1)) if count > 1 else ("push",)


def background_programs(
    instance: Instance, environment: Mapping[str, str], *, push_processes: int
) -> list[Program]:
    """Every process but the API's. Each waits for the others, so all may start at the same time."""
    ports = instance.ports
    gateways = gateway_names(push_processes)
    serve_push = ("serve", "push", "--share-port", "--port", str(ports.push))

    def program(name: str, *arguments: str, niceness: int = 0) -> Program:
        has_socket = name in WITHOUT_HTTP or name in gateways
        operations = {"OPS_HOST": str(instance.operations(name))} if has_socket else {}
        return _program(name, arguments, {**environment, **operations}, niceness)

    sandbox = program(
        "stripe-sandbox",
        "sandbox",
        *("--port", str(ports.stripe)),
        *("--ledger", str(instance.ledger)),
        *("--webhook-url", f"http://{HOST}:{ports.api}/api/payments/webhook"),
    )
    return [
        *([sandbox] if instance.sandboxed else []),
        program("relay", "relay"),
        program("worker", "worker", "jobs"),
        program("consumers", "worker", "consumers", niceness=CONSUMERS_NICENESS),
        program("notifier", "worker", "notifier", niceness=PUSH_NICENESS),
        *(program(name, *serve_push, niceness=PUSH_NICENESS) for name in gateways),
    ]


def api_program(
    instance: Instance, environment: Mapping[str, str], *, push_processes: int
) -> Program:
    """The API's process. It starts last and stops first, so the parts it needs are running."""
    names = (*WITHOUT_HTTP, *gateway_names(push_processes))
    peers = {name: str(instance.operations(name)) for name in names}
    addresses = "\n".join(f"{name}={address}" for name, address in peers.items())
    arguments = ("serve", "api", "--port", str(instance.ports.api))
    return _program("api", arguments, {**environment, "OPS_PEERS": addresses}, 0)


def _program(
    name: str, arguments: tuple[str, ...], environment: Mapping[str, str], niceness: int
) -> Program:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [sys.executable, "-m", "backend.cli", *arguments]
    return Program(name, command, {**inherited, **environment}, niceness=niceness)
