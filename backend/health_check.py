"""The health check of a container: `python backend/health_check.py /readyz` exits with 0 when the
reply is 200.

It runs every few seconds beside each process, so it uses a plain socket and imports nothing slow.
"""

import socket
import sys

# A service, the Stripe sandbox, a process without an API, and the exporter of the invariants.
PORTS = (8000, 8002, 9100, 9101)
SECONDS = 3.0


def probe(path: str) -> tuple[bool, str]:
    """Whether the first open port of `PORTS` replies with 200, and the reply's body."""
    for port in PORTS:
        try:
            reply = _get(port, path)
        except ConnectionRefusedError:
            continue
        except OSError as error:
            return False, f"port {port}: {error}"
        head, _, body = reply.partition("\r\n\r\n")
        return head.partition("\r\n")[0].split()[1:2] == ["200"], body[:1_000]
    return False, f"nothing listens on any of {', '.join(map(str, PORTS))}"


def _get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        with connection.makefile("rb") as reply:
            return reply.read().decode(errors="replace")


if __name__ == "__main__":
    healthy, body = probe(sys.argv[1] if len(sys.argv) > 1 else "/healthz")
    print(body)
    sys.exit(not healthy)
