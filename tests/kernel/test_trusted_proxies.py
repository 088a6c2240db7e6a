"""The proxies that may name a client's address: networks, and names of services."""

import asyncio
import socket
from typing import Any

import pytest
from starlette.requests import Request

from backend.kernel import trusted_proxies
from backend.kernel.client_address import client_ip

CLIENT = "203.0.113.9"


def request_from(peer: str) -> Request:
    headers = [(b"x-forwarded-for", CLIENT.encode())]
    return Request({"type": "http", "headers": headers, "client": (peer, 1)})


class NameServer:
    """The answers of the event loop's lookups, and their number."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.lookups = 0

    async def getaddrinfo(self, name: str, _port: None, **_options: object) -> list[Any]:
        assert name == "ingress"
        self.lookups += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.addresses
        ]


@pytest.fixture
async def name_server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    found = NameServer()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: Loop(found))
    return found


class Loop:
    """The event loop with lookups by this name server."""

    def __init__(self, name_server: NameServer) -> None:
        self._loop = asyncio.events.get_running_loop()
        self.getaddrinfo = name_server.getaddrinfo

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_only_the_named_container_of_a_network_may_name_the_address(
    name_server: NameServer,
) -> None:
    name_server.addresses = ["10.0.0.7"]
    proxies = trusted_proxies.parse("ingress")
    await proxies.look_up()
    assert client_ip(request_from("10.0.0.7"), proxies) == CLIENT
    assert client_ip(request_from("10.0.0.8"), proxies) == "10.0.0.8"


async def test_a_name_is_looked_up_again_and_keeps_its_addresses_while_that_fails(
    name_server: NameServer,
) -> None:
    proxies = trusted_proxies.parse("192.0.2.0/28, ingress")
    await proxies.look_up()
    assert client_ip(request_from("10.0.0.7"), proxies) == "10.0.0.7"
    assert client_ip(request_from("192.0.2.3"), proxies) == CLIENT
    name_server.addresses = ["10.0.0.7"]
    await proxies.look_up()
    assert client_ip(request_from("10.0.0.7"), proxies) == CLIENT
    name_server.addresses = []
    await proxies.look_up()
    assert client_ip(request_from("10.0.0.7"), proxies) == CLIENT


async def test_requests_cause_one_lookup_in_each_interval(
    name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server.addresses = ["10.0.0.7"]
    proxies = trusted_proxies.parse("ingress")
    for _ in range(100):
        client_ip(request_from("10.0.0.7"), proxies)
    await asyncio.sleep(0)
    assert name_server.lookups == 1
    assert client_ip(request_from("10.0.0.7"), proxies) == CLIENT
    monkeypatch.setattr(trusted_proxies, "REFRESH_SECONDS", 0.0)
    client_ip(request_from("10.0.0.7"), proxies)
    await asyncio.sleep(0)
    assert name_server.lookups > 1


async def test_the_name_of_this_machine_resolves() -> None:
    proxies = trusted_proxies.parse("localhost")
    await proxies.look_up()
    assert client_ip(request_from("127.0.0.1"), proxies) == CLIENT


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "a b", "http://ingress", "ingress:80"]
)
def test_a_malformed_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\d|ingress|a b"):
        trusted_proxies.parse(text)
