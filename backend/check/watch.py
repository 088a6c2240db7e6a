"""`gittix check --watch`: a round every few seconds, a line each, and gauges for Prometheus.

A round that takes long is followed by a pause as long: watching never takes more than half of Postgres's time for it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from rich.console import Console

from backend.check import invariants, report
from backend.check.evidence import CannotLook
from backend.check.invariants import EXIT_STATUS, Look
from backend.kernel.settings import Settings

Offender = tuple[str, str]


class Gauges:
    """What the last round found. After a round that could not look, `last_run` stands still and the rest with it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._breaches = self._gauge(
            "gittix_invariant_breaches", "Offenders found in the last round"
        )
        self._examined = self._gauge(
            "gittix_invariant_examined", "Rows, entries and intents looked at"
        )
        self._unseen = self._gauge("gittix_invariant_not_examined", "Parts that were not looked at")
        self._last_run = Gauge(
            "gittix_check_last_run_timestamp_seconds",
            "When a round last ended",
            registry=self.registry,
        )
        self._seconds = Gauge(
            "gittix_check_duration_seconds", "What it took", registry=self.registry
        )
        self._rounds = Counter("gittix_check_rounds", "Rounds", ["outcome"], registry=self.registry)

    def show(self, look: Look) -> None:
        for finding in look.findings:
            self._breaches.labels(finding.invariant).set(len(finding.offenders))
            self._examined.labels(finding.invariant).set(finding.examined)
            self._unseen.labels(finding.invariant).set(len(finding.unseen))
        self._last_run.set_to_current_time()
        self._seconds.set(look.seconds)
        self._rounds.labels(look.outcome).inc()

    def show_blind(self) -> None:
        self._rounds.labels("could_not_look").inc()

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """On http://host:port/metrics while the block runs. Raises OSError."""
        server, thread = start_http_server(port, host, self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _gauge(self, name: str, says: str) -> Gauge:
        return Gauge(name, says, ["invariant"], registry=self.registry)


class Watch:
    """Rounds until `stop` is set; `status` is the last one's."""

    def __init__(
        self, settings: Settings, gauges: Gauges, console: Console, *, as_json: bool
    ) -> None:
        self._settings = settings
        self._gauges = gauges
        self._console = console
        self._as_json = as_json
        self._known: frozenset[Offender] = frozenset()
        self.status = 0

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> int:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                looking = asyncio.create_task(self._round())
                await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not looking.done():
                    looking.cancel()
                    await asyncio.wait({looking})
                    break
                await asyncio.wait({stopping}, timeout=max(every_seconds, looking.result()))
        finally:
            stopping.cancel()
        return self.status

    async def _round(self) -> float:
        """Returns what it took, in seconds."""
        try:
            look = await invariants.look(self._settings)
        except CannotLook as fault:
            self.status = 2
            self._gauges.show_blind()
            self._say(report.encode_failure(fault) if self._as_json else f"? {fault}")
            return 0.0
        self.status = EXIT_STATUS[look.outcome]
        self._gauges.show(look)
        if self._as_json:
            self._say(report.encode(look))
        else:
            self._tell(look)
        return look.seconds

    def _tell(self, look: Look) -> None:
        found = frozenset(
            (finding.invariant, offender)
            for finding in look.findings
            for offender in finding.offenders
        )
        self._say(_line(look))
        for sign, changed in (("+", found - self._known), ("-", self._known - found)):
            for invariant, offender in sorted(changed)[: report.SHOWN]:
                self._say(f"  {sign} {invariant}: {offender}")
            if len(changed) > report.SHOWN:
                self._say(f"  {sign} … and {len(changed) - report.SHOWN:,} more")
        self._known = found

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(look: Look) -> str:
    """The whole round in a line."""
    broken = [
        f"{finding.invariant} {len(finding.offenders)}"
        for finding in look.findings
        if finding.offenders
    ]
    unseen = [finding.invariant for finding in look.findings if finding.unseen]
    examined = sum(finding.examined for finding in look.findings)
    parts = [
        f"{look.at:%H:%M:%S}",
        f"✗ broken: {', '.join(broken)}"
        if broken
        else "✓ all hold"
        if not unseen
        else "? nothing broken",
        *([f"not in full: {', '.join(unseen)}"] if unseen else []),
        f"{examined:,} examined",
        f"{look.seconds:.2f} s",
    ]
    return "  ".join(parts)
