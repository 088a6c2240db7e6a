"""`make bench`: every benchmark, or those that are named."""

import asyncio
import sys

import uvloop

from loadtests.bench import (
    costs,
    events,
    expiry,
    generator,
    growth,
    holds,
    hosted,
    latency,
    push,
    resume,
    rush,
    stream,
)

BENCHMARKS = {
    "latency": latency.measure,
    "holds": holds.measure,
    "rush": rush.measure,
    "expiry": expiry.measure,
    "stream": stream.measure,
    "events": events.measure,
    "hosted": hosted.measure,
    "growth": growth.measure,
    "costs": costs.measure,
    "generator": generator.measure,
    "push": push.measure,
    "resume": resume.measure,
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(BENCHMARKS[name]())


main()
