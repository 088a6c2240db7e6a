"""Processes that one process speaks for: `gittix up` shows the readiness and the metrics of all of them on the API's port."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import httpx
from prometheus_client import Gauge, generate_latest

SECONDS = 1.5

UP = Gauge("gittix_process_up", "Whether a process of this instance answers", ["name"])


class PeerProcesses(NamedTuple):
    """`own` is the name of the process that speaks, `others` the addresses of the rest: a URL or a Unix socket's path."""

    own: str
    others: Mapping[str, str]

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether all of the others are ready, and what each of their checks says."""
        ready, told = True, {}
        for name, reply in (await self._ask("/readyz")).items():
            if reply is None:
                ready, told[name] = False, "does not answer"
                continue
            ready = ready and reply.status_code == 200
            said = reply.json()
            told |= {
                f"{name}.{check}": word
                for check, word in said.get("checks", {"process": said["status"]}).items()
            }
        return ready, told

    async def metrics(self) -> bytes:
        """Those of all, each sample with its process."""
        replies = await self._ask("/metrics")
        for name, reply in replies.items():
            UP.labels(name).set(reply is not None)
        shown = {self.own: generate_latest().decode()}
        return merged(
            shown | {name: reply.text for name, reply in replies.items() if reply}
        ).encode()

    async def _ask(self, path: str) -> dict[str, httpx.Response | None]:
        replies = await asyncio.gather(*(_get(address, path) for address in self.others.values()))
        return dict(zip(self.others, replies, strict=True))


def parse_peers(own: str, text: str) -> PeerProcesses | None:
    """From lines of `name=address`."""
    return (
        PeerProcesses(own, dict(line.split("=", 1) for line in text.splitlines())) if text else None
    )


def merged(shown: Mapping[str, str]) -> str:
    """Several expositions as one: a metric's samples stand together, and `process` says whose each is."""
    families: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for process, text in shown.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                # HELP and TYPE come before the samples, and alike from each process: kept once.
                _, _, family, _ = line.split(" ", 3)
                families[family][line] = None
            else:
                families[family][_labelled(line, process)] = None
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _labelled(sample: str, process: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{process="{process}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{process="{process}"}} {value}'


async def _get(address: str, path: str) -> httpx.Response | None:
    socket = address if address.startswith("/") else None
    transport = httpx.AsyncHTTPTransport(uds=socket, verify=False)
    base = "http://peer" if socket else address
    try:
        async with httpx.AsyncClient(transport=transport, base_url=base, timeout=SECONDS) as client:
            return await client.get(path)
    except httpx.HTTPError:
        return None
