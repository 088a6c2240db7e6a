"""`gittix check --watch`: checks every few seconds, prints one line a round, exports gauges.

The pause after a round is at least as long as the round, so a watch keeps Postgres busy for at most
half of the time.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from rich.console import Console

from backend.check import output
from backend.check.invariants import EXIT_STATUS, Report, check_invariants
from backend.check.snapshot import CheckError
from backend.kernel.settings import Settings

# The invariant and the sentence.
Violation = tuple[str, str]


class Gauges:
    """The Prometheus gauges of the last round, unchanged by a round that raised CheckError."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._breaches = self._gauge(
            "gittix_invariant_breaches", "Violations found in the last round"
        )
        self._examined = self._gauge(
            "gittix_invariant_examined", "Rows, entries and intents examined"
        )
        self._unchecked = self._gauge(
            "gittix_invariant_not_examined", "Parts that were not examined"
        )
        self._last_run = Gauge(
            "gittix_check_last_run_timestamp_seconds",
            "Time at which a round last ended",
            registry=self.registry,
        )
        self._seconds = Gauge(
            "gittix_check_duration_seconds", "Duration of a round", registry=self.registry
        )
        self._rounds = Counter("gittix_check_rounds", "Rounds", ["outcome"], registry=self.registry)

    def update(self, report: Report) -> None:
        for result in report.results:
            self._breaches.labels(result.invariant).set(len(result.violations))
            self._examined.labels(result.invariant).set(result.examined)
            self._unchecked.labels(result.invariant).set(len(result.unchecked))
        self._last_run.set_to_current_time()
        self._seconds.set(report.seconds)
        self._rounds.labels(report.outcome).inc()

    def count_failure(self) -> None:
        self._rounds.labels("failed").inc()

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """Serve the gauges at http://host:port/metrics while the block runs. Raises OSError."""
        server, thread = start_http_server(port, host, self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, ["invariant"], registry=self.registry)


class Watch:
    """Runs rounds until `stop` is set. `status` is the exit status of the last round."""

    def __init__(
        self, settings: Settings, gauges: Gauges, console: Console, *, as_json: bool
    ) -> None:
        self._settings = settings
        self._gauges = gauges
        self._console = console
        self._as_json = as_json
        self._known: frozenset[Violation] = frozenset()
        self.status = 0

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> int:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                round_task = asyncio.create_task(self._round())
                await asyncio.wait({round_task, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not round_task.done():
                    round_task.cancel()
                    await asyncio.wait({round_task})
                    break
                await asyncio.wait({stopping}, timeout=max(every_seconds, round_task.result()))
        finally:
            stopping.cancel()
        return self.status

    async def _round(self) -> float:
        """Check once and print the round. Returns its duration in seconds."""
        try:
            report = await check_invariants(self._settings)
        except CheckError as error:
            self.status = 2
            self._gauges.count_failure()
            self._print(output.encode_failure(error) if self._as_json else f"? {error}")
            return 0.0
        self.status = EXIT_STATUS[report.outcome]
        self._gauges.update(report)
        if self._as_json:
            self._print(output.encode(report))
        else:
            self._print_changes(report)
        return report.seconds

    def _print_changes(self, report: Report) -> None:
        found = frozenset(
            (result.invariant, violation)
            for result in report.results
            for violation in result.violations
        )
        self._print(_line(report))
        for sign, changed in (("+", found - self._known), ("-", self._known - found)):
            for invariant, violation in sorted(changed)[: output.SHOWN]:
                self._print(f"  {sign} {invariant}: {violation}")
            if len(changed) > output.SHOWN:
                self._print(f"  {sign} … and {len(changed) - output.SHOWN:,} more")
        self._known = found

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(report: Report) -> str:
    """Return the round as one line."""
    broken = [
        f"{result.invariant} {len(result.violations)}"
        for result in report.results
        if result.violations
    ]
    unchecked = [result.invariant for result in report.results if result.unchecked]
    examined = sum(result.examined for result in report.results)
    parts = [
        f"{report.at:%H:%M:%S}",
        f"✗ broken: {', '.join(broken)}"
        if broken
        else "✓ all hold"
        if not unchecked
        else "? nothing broken",
        *([f"not in full: {', '.join(unchecked)}"] if unchecked else []),
        f"{examined:,} examined",
        f"{report.seconds:.2f} s",
    ]
    return "  ".join(parts)
