"""The ports of an instance: those requested, else the default ones, else free ones near them.

The API's port is in links and cookies, so it never moves by itself.
"""

import errno
import socket
from typing import NamedTuple

HOST = "127.0.0.1"
API_PORT, PUSH_PORT, STRIPE_PORT = 8000, 8001, 8002
LAST_PORT = 65_535


class PortError(Exception):
    """A port can't be used; the message gives the problem and the remedy."""


class Ports(NamedTuple):
    api: int
    push: int
    stripe: int


def choose(*, api: int, push: int | None, stripe: int | None) -> Ports:
    """Return three free ports. Raises PortError when a requested one can't be used.

    None for `push` or `stripe` means: the default port, or the next free one above it.
    """
    requested = {"--port": api, "--push-port": push, "--stripe-port": stripe}
    used: dict[int, str] = {}
    for option, port in requested.items():
        if port is None:
            continue
        if port in used:
            raise PortError(
                f"{used[port]} and {option} are both {port}. Choose different ports, "
                f"for example: gittix up {option} {_example(port)}"
            )
        _check(port, option)
        used[port] = option
    push = push or _next_free(PUSH_PORT, {api, stripe or STRIPE_PORT})
    return Ports(api, push, stripe or _next_free(STRIPE_PORT, {api, push}))


def _check(port: int, option: str) -> None:
    match _bind_error(port):
        case None:
            return
        case errno.EACCES | errno.EPERM:
            problem = f"Port {port} is reserved for root. Choose"
        case _:
            problem = f"Port {port} is in use. Stop the program that uses it, or choose"
    raise PortError(
        f"{problem} another with {option}, for example: gittix up {option} {_example(port)}"
    )


def _example(port: int) -> int:
    """A port that can be used, near this one where possible."""
    return _next_free(max(port + 100, 1100) if port + 200 < LAST_PORT else PUSH_PORT, set())


def _next_free(first: int, excluded: set[int]) -> int:
    for port in range(first, LAST_PORT + 1):
        if port not in excluded and _bind_error(port) is None:
            return port
    raise PortError(f"No port from {first} to {LAST_PORT} is free. Stop a program that uses one.")


def _bind_error(port: int) -> int | None:
    """The errno of binding a server to this port, or None when the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno
    return None
