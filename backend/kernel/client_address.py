"""Where a request comes from, when proxies stand between.

`X-Forwarded-For` is what the sender likes to write; only the part that a proxy of ours appended is known.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Network = IPv4Network | IPv6Network

UNKNOWN = "unknown"


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list of addresses and CIDR blocks. Raises ValueError."""
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


def client_ip(request: Request, trusted: Sequence[Network]) -> str:
    """The nearest address that is no proxy of ours, or `unknown`.

    Read from the right, since each proxy appends the peer it saw; a hop that isn't an address ends the walk.
    """
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    client = UNKNOWN
    for hop in (request.client.host if request.client else "", *reversed(forwarded)):
        address = _address(hop)
        if address is None:
            break
        client = str(address)
        if not any(address in network for network in trusted):
            break
    return client


def block(address: str) -> str:
    """What one caller surely controls: an IPv4 address, but the whole /64 of an IPv6 one."""
    parsed = _address(address)
    return (
        str(IPv6Network((int(parsed), 64), strict=False))
        if isinstance(parsed, IPv6Address)
        else address
    )


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
