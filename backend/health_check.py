"""Whether a container's one process answers: `python backend/health_check.py /readyz`, with exit status 0 on a 200.

For health checks, which run every few seconds beside each process: hence a socket, and nothing imported that takes long.
"""

import socket
import sys

# A service, the Stripe sandbox, a process without HTTP of its own, and the invariants' exporter.
PORTS = (8000, 8002, 9100, 9101)
SECONDS = 3.0


def probe(path: str) -> tuple[bool, str]:
    """Whether the first of the ports that is open answers with 200, and what it said."""
    for port in PORTS:
        try:
            reply = _get(port, path)
        except ConnectionRefusedError:
            continue
        except OSError as fault:
            return False, f"port {port}: {fault}"
        head, _, body = reply.partition("\r\n\r\n")
        return head.partition("\r\n")[0].split()[1:2] == ["200"], body[:1_000]
    return False, f"nothing listens on any of {', '.join(map(str, PORTS))}"


def _get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        with connection.makefile("rb") as reply:
            return reply.read().decode(errors="replace")


if __name__ == "__main__":
    answers, said = probe(sys.argv[1] if len(sys.argv) > 1 else "/healthz")
    print(said)
    sys.exit(not answers)
