"""The choice of ports: requested ones are used or refused, default ones give way to free ones."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backend.embedded import ports
from backend.embedded.ports import PortError
from loadtests.ports import free_port


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", port)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Default ports of this test, since any program may use the real ones here."""
    push, stripe = free_port(), free_port()
    monkeypatch.setattr(ports, "PUSH_PORT", push)
    monkeypatch.setattr(ports, "STRIPE_PORT", stripe)
    return push, stripe


def test_default_ports_are_used_when_they_are_free(defaults: tuple[int, int]) -> None:
    chosen = ports.choose(api=free_port(), push=None, stripe=None)
    assert chosen.push >= defaults[0]
    with listening(chosen.push), listening(chosen.stripe):
        pass


def test_a_default_port_in_use_gives_way_to_the_next_free_one(defaults: tuple[int, int]) -> None:
    api = free_port()
    with listening(defaults[0]):
        chosen = ports.choose(api=api, push=None, stripe=None)
    assert chosen.push > defaults[0]
    assert len(set(chosen)) == 3


def test_the_default_ports_of_two_parts_never_collide(defaults: tuple[int, int]) -> None:
    push, stripe = defaults
    assert ports.choose(api=push, push=None, stripe=None).push not in {push, stripe}
    assert ports.choose(api=free_port(), push=stripe, stripe=None).stripe > stripe
    assert ports.choose(api=free_port(), push=None, stripe=push).push >= stripe


@pytest.mark.parametrize("option", ["--port", "--push-port", "--stripe-port"])
def test_a_requested_port_in_use_is_refused(option: str) -> None:
    with listening() as port:
        names = ("--port", "--push-port", "--stripe-port")
        api, push, stripe = (port if name == option else free_port() for name in names)
        with pytest.raises(PortError, match=f"Port {port} is in use.*with {option}") as raised:
            ports.choose(api=api, push=push, stripe=stripe)
    example = re.search(rf"gittix up {option} (\d+)$", str(raised.value))
    assert example
    with listening(int(example[1])):
        pass


def test_one_port_for_two_parts_is_refused() -> None:
    port = free_port()
    with pytest.raises(PortError, match=f"--port and --stripe-port are both {port}"):
        ports.choose(api=port, push=None, stripe=port)


def test_the_highest_port_in_use_is_refused_with_an_example_below_it() -> None:
    with (
        listening(65_535),
        pytest.raises(PortError, match=r"Port 65535 is in use") as raised,
    ):
        ports.choose(api=65_535, push=None, stripe=None)
    assert int(str(raised.value).split()[-1]) < 65_535


def test_a_port_reserved_for_root_is_not_called_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_socket: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    class Restricted(socket.socket):
        bind = refused

    monkeypatch.setattr(ports, "_example", lambda _port: 1100)
    monkeypatch.setattr(socket, "socket", Restricted)
    with pytest.raises(PortError, match="Port 80 is reserved for root"):
        ports.choose(api=80, push=None, stripe=None)
