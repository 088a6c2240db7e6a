"""Connections of a simulated user from an address of its own, as limits by address assume.

Every address of 127.0.0.0/8 belongs to a Linux machine, so nothing has to be configured.
"""

import socket
from typing import Any, cast

from geventhttpclient.client import HTTPClientPool
from geventhttpclient.connectionpool import ConnectionPool

NETWORK = "127.0.2"
ADDRESSES = 250


def address_of(number: int) -> str:
    return f"{NETWORK}.{number % ADDRESSES + 1}"


def available() -> bool:
    """Whether this machine has the addresses."""
    with socket.socket() as probe:
        try:
            probe.bind((address_of(0), 0))
        except OSError:
            return False
    return True


class ClientsOfAddress(HTTPClientPool):
    """HTTP clients whose connections come from one address."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(**options)
        self._address = address

    def get_client(self, url: Any) -> Any:
        client = super().get_client(url)
        pool = client._connection_pool  # noqa: SLF001 - the library has no option for the address
        if not isinstance(pool, _Connections):
            pool.__class__ = _Connections
            cast(_Connections, pool).source_address = self._address
        return client


class _Connections(ConnectionPool):
    source_address: str

    def _connect_socket(self, sock: Any, address: Any) -> Any:
        sock.bind((self.source_address, 0))
        return super()._connect_socket(sock, address)
