"""The gates of resuming: 2,000 clients lose no message when two gateways restart one after the
other, or when one is killed, and wait for less than 2 s after their return.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from loadtests.bench.results import milliseconds, publish
from loadtests.bench.stores import bare_stores
from loadtests.returning import Client, GatewayProcess, Source, connected, gateways, settled

CLIENTS: Final = 2_000
# Beside them, clients that only reconnect.
CONTROLS: Final = 20
TICKS_PER_SECOND: Final = 4.0
LULL_SECONDS: Final = 2.0
MAX_WAIT_SECONDS: Final = 2.0


async def rolling_restart(running: Sequence[GatewayProcess]) -> None:
    for gateway in running:
        await gateway.stop()
        await gateway.start()
        await asyncio.sleep(LULL_SECONDS)


async def kill_one(running: Sequence[GatewayProcess]) -> None:
    await running[0].kill()
    await asyncio.sleep(LULL_SECONDS)
    await running[0].start()


Fault = Callable[[Sequence[GatewayProcess]], Awaitable[None]]


class Report(NamedTuple):
    """The clients after a fault, and the source of their messages."""

    clients: Sequence[Client]
    controls: Sequence[Client]
    source: Source

    @property
    def missed(self) -> int:
        return sum(client.missed for client in self.clients)

    @property
    def waits(self) -> list[float]:
        return [wait for client in self.clients for wait in client.waits]

    @property
    def not_current(self) -> int:
        """The clients without all messages, each once and in order, or without the last state."""
        return sum(
            client.orders != list(range(1, self.source.orders + 1))
            or client.tickets != self.source.tickets
            for client in self.clients
        )

    def row(self) -> dict[str, Any]:
        waits = milliseconds(self.waits)
        return {
            "clients": len(self.clients),
            "reconnects": sum(client.reconnects for client in self.clients),
            "messages": self.source.orders,
            "missed": self.missed,
            "not current": self.not_current,
            "API reads": sum(client.not_recovered for client in self.clients),
            "missed without resuming": sum(client.missed for client in self.controls),
            **{f"wait {name}, ms": waits[name] for name in ("p50", "p99", "max")},
        }


async def survive(
    fault: Fault, redis_url: str, *, clients: int, controls: int, ticks_per_second: float
) -> Report:
    """Run clients and a fault while messages flow."""
    async with gateways(redis_url) as running:
        ports = [gateway.port for gateway in running]
        resuming = [Client(ports, number) for number in range(clients)]
        plain = [Client(ports, number, resumes=False) for number in range(controls)]
        source, stop = Source(redis_url, ticks_per_second=ticks_per_second), asyncio.Event()
        async with connected([*resuming, *plain]):
            publishing = asyncio.create_task(source.publish(stop))
            await asyncio.sleep(LULL_SECONDS / 2)
            await fault(running)
            await asyncio.sleep(LULL_SECONDS)
            stop.set()
            await publishing
            await settled(resuming, source, seconds=20)
    return Report(resuming, plain, source)


async def measure() -> None:
    rows = {}
    for name, fault in (("rolling restart", rolling_restart), ("kill -9", kill_one)):
        async with bare_stores() as (settings, _):
            report = await survive(
                fault,
                settings.redis_url,
                clients=CLIENTS,
                controls=CONTROLS,
                ticks_per_second=TICKS_PER_SECOND,
            )
        rows[name] = report.row()
        if report.missed or report.not_current or max(report.waits) > MAX_WAIT_SECONDS:
            publish("resume", rows)
            raise SystemExit(f"{name}: a client missed messages or waited too long")
    publish("resume", rows)
