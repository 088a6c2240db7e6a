"""The proxies whose `X-Forwarded-For` counts: networks, and names that the name server resolves.

A container's address changes with each start, so a network would have to include every other
container. A name stands for exactly the addresses of one service. A process looks each name up when
it is built, and again when a request arrives more than `REFRESH_SECONDS` after the last lookup.
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network

import structlog

from backend.kernel.client_address import Network, networks

log = structlog.get_logger()

REFRESH_SECONDS = 5.0
LOOKUP_SECONDS = 5.0
# A host name with a letter: an IPv4 address has none, and an IPv6 address has colons.
NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


class TrustedProxies:
    """Iterates over the trusted networks; the addresses of a name are networks of one address.

    A name that cannot be resolved keeps its last addresses. Until its first lookup succeeds, it has
    none, so a client's address is then that of the proxy.
    """

    def __init__(self, fixed: tuple[Network, ...], names: tuple[str, ...]) -> None:
        self._fixed = fixed
        self._resolved: dict[str, tuple[Network, ...]] = dict.fromkeys(names, ())
        self._looked_up_at = -REFRESH_SECONDS
        self._lookup: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Network]:
        if self._resolved and time.monotonic() - self._looked_up_at >= REFRESH_SECONDS:
            self._looked_up_at = time.monotonic()
            self._lookup = asyncio.get_running_loop().create_task(self.look_up())
        yield from self._fixed
        for addresses in self._resolved.values():
            yield from addresses

    async def look_up(self) -> None:
        """Resolve every name."""
        loop = asyncio.get_running_loop()
        for name in self._resolved:
            try:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (OSError, TimeoutError, UnicodeError) as error:
                log.debug("proxy not resolved", name=name, error=repr(error))
                continue
            addresses = sorted({address[0] for *_, address in found})
            self._resolved[name] = tuple(ip_network(address) for address in addresses)


def parse(text: str) -> TrustedProxies:
    """The proxies of a comma-separated list of addresses, CIDR blocks and host names.

    Raises ValueError.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    names = tuple(word for word in words if NAME.fullmatch(word))
    return TrustedProxies(networks(",".join(word for word in words if word not in names)), names)
