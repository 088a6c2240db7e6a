"""The client's address of a request that came through proxies.

A sender can write anything into `X-Forwarded-For`; only the entries that a trusted proxy appended
are reliable.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import HTTPConnection

Network = IPv4Network | IPv6Network

UNKNOWN = "unknown"
# Longer than any address without a zone.
MAX_CACHED_LENGTH = 64


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list of addresses and CIDR blocks. Raises ValueError."""
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


def client_ip(request: HTTPConnection, trusted: Iterable[Network]) -> str:
    """The last address of the chain that is no trusted proxy, or `unknown`.

    Reads the header from the right, since each proxy appends the address of its peer, and stops
    at the first entry that is not an address.
    """
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    client = UNKNOWN
    for hop in (request.client.host if request.client else "", *reversed(forwarded)):
        address = _address(hop)
        if address is None:
            break
        client = str(address)
        if not _is_within(address, trusted):
            break
    return client


def is_trusted(address: str, trusted: Iterable[Network]) -> bool:
    parsed = _address(address)
    return parsed is not None and _is_within(parsed, trusted)


def network_of(address: str) -> str:
    """The addresses that one caller controls: one IPv4 address, or the /64 of an IPv6 address."""
    parsed = _address(address)
    return (
        str(IPv6Network((int(parsed), 64), strict=False))
        if isinstance(parsed, IPv6Address)
        else address
    )


def site_of(address: str) -> str | None:
    """The /48 of an IPv6 address, which is as much as one customer usually gets, else None."""
    parsed = _address(address)
    return (
        str(IPv6Network((int(parsed), 48), strict=False))
        if isinstance(parsed, IPv6Address)
        else None
    )


def networks_of(address: str) -> tuple[str, ...]:
    """The networks to which limits apply, the smallest first: an IPv4 address, or the /64 and the
    /48 of an IPv6 address. Empty for an unknown address.
    """
    if address == UNKNOWN:
        return ()
    site = site_of(address)
    return (network_of(address),) if site is None else (network_of(address), site)


def _is_within(address: IPv4Address | IPv6Address, blocks: Iterable[Network]) -> bool:
    return any(address in network for network in blocks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    # A header may have a long text, which must not fill the cache.
    return _parsed(text) if len(text) <= MAX_CACHED_LENGTH else _parsed.__wrapped__(text)


# A proxy or a client sends many requests, and parsing takes longer than all the rest here.
@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
