"""The client's address of a request that came through proxies."""

import pytest
from starlette.requests import Request

from backend.kernel.client_address import client_ip, network_of, networks, site_of

PROXIES = "10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.7"


def request_from(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    client = (peer, 1) if peer is not None else None
    return Request({"type": "http", "headers": headers, "client": client})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.7", ["1.1.1.1, 203.0.113.9, 10.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, "], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ffff::1", ["203.0.113.9"], "203.0.113.9"),
        (None, ["203.0.113.9"], "unknown"),
        ("testclient", ["203.0.113.9"], "unknown"),
    ],
)
def test_only_addresses_that_a_trusted_proxy_appended_count(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert client_ip(request_from(peer, *forwarded), networks(PROXIES)) == client


def test_no_proxy_is_trusted_by_default() -> None:
    assert client_ip(request_from("127.0.0.1", "203.0.113.9"), networks("")) == "127.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33"])
def test_a_malformed_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\d|proxy"):
        networks(text)


def test_a_block_is_one_ipv4_address_or_an_ipv6_64() -> None:
    assert network_of("203.0.113.9") == "203.0.113.9"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network_of("unknown") == "unknown"


def test_a_site_is_an_ipv6_48() -> None:
    assert site_of("2001:db8:1:2::9") == site_of("2001:db8:1:3::1") == "2001:db8:1::/48"
    assert site_of("203.0.113.9") is site_of("::ffff:203.0.113.9") is site_of("unknown") is None
