"""`make bench`: every benchmark, or those that are named."""

import asyncio
import sys

from loadtests.bench import latency

BENCHMARKS = {"latency": latency.measure}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        asyncio.run(BENCHMARKS[name]())


main()
