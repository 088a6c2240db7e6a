"""Ports for servers that start a moment later.

A port that is free when it is chosen stays free until its server binds it only if no other process
chooses it meanwhile. So each process has a block of ports of its own, which it holds by the first
port of the block, and takes the others in turn.
"""

import socket
from collections.abc import Iterator
from functools import cache

HOST = "127.0.0.1"
# Below the ephemeral ports, which outgoing connections may take at any time.
FIRST_PORT, LAST_PORT = 12_000, 31_999
BLOCK_PORTS = 500


def free_port() -> int:
    """A port that no program has bound and that no other process gets from this function."""
    return next(_free_ports())


@cache
def _free_ports() -> Iterator[int]:
    """The free ports of this process's block, again and again."""
    held, first = _hold_block()
    with held:
        while True:
            found = False
            for port in range(first + 1, first + BLOCK_PORTS):
                if (probe := _bind(port)) is not None:
                    probe.close()
                    found = True
                    yield port
            if not found:
                raise RuntimeError(f"all ports from {first} to {first + BLOCK_PORTS} are in use")


def _hold_block() -> tuple[socket.socket, int]:
    for first in range(FIRST_PORT, LAST_PORT, BLOCK_PORTS):
        if (held := _bind(first)) is not None:
            return held, first
    raise RuntimeError(f"every block of ports from {FIRST_PORT} to {LAST_PORT} is held: end a test")


def _bind(port: int) -> socket.socket | None:
    """A socket bound to this port; None when another program has it."""
    bound = socket.socket()
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        return None
    return bound
