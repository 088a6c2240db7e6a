"""The cost of the load generator: requests to an empty endpoint.

The clients: prepared bytes over sockets (the floor), locust's FastHttpUser, our BrowserUser.
"""

import asyncio
import json
import sys
import time
from itertools import repeat
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loadtests.bench.load import drive, get
from loadtests.bench.results import publish
from loadtests.bench.setup import floor_app

REQUESTS = 40_000
CONNECTIONS = 50


async def measure() -> None:
    async with floor_app({}, f"{__name__}:app") as port:
        rows: dict[str, dict[str, Any]] = {
            "floor: prepared requests over sockets": await _least(port)
        }
        rows |= await _locusts(f"http://127.0.0.1:{port}")
    floor = rows["floor: prepared requests over sockets"]["generator's own, µs"]
    for row in rows.values():
        row["times the floor"] = round(row["generator's own, µs"] / floor, 1)
    publish("generator", rows)


async def nothing(_request: Request) -> Response:
    return JSONResponse({})


app = Starlette(routes=[Route("/", nothing)])


async def _least(port: int) -> dict[str, Any]:
    worked = time.process_time()
    load = await drive(
        "127.0.0.1", port, iter([*repeat(get("/"), REQUESTS)]), connections=CONNECTIONS
    )
    return {
        "per second": round(load.per_second),
        "generator's own, µs": round((time.process_time() - worked) / REQUESTS * 1e6),
        "failures": sum(count for status, count in load.statuses.items() if status != 200),
    }


async def _locusts(url: str) -> dict[str, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.bench.locust_cost", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit("the benchmark of locust failed: see its output above")
    rows: dict[str, dict[str, Any]] = json.loads(output.splitlines()[-1])
    return rows
