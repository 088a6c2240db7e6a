"""Merges the readiness and metrics of several processes: under `gittix up`, the API returns those
of all of them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import httpx
from prometheus_client import Gauge, generate_latest

SECONDS = 1.5

UP = Gauge("gittix_process_up", "1 while a process of this instance answers, else 0", ["name"])


class PeerProcesses(NamedTuple):
    """`own` is the name of this process; `others` maps names to a URL or the path of a Unix
    socket.
    """

    own: str
    others: Mapping[str, str]

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether all peers are ready, and the result of each of their checks."""
        ready, results = True, {}
        for name, reply in (await self._get_all("/readyz")).items():
            if reply is None:
                ready, results[name] = False, "does not answer"
                continue
            ready = ready and reply.status_code == 200
            body = reply.json()
            results |= {
                f"{name}.{check}": text
                for check, text in body.get("checks", {"process": body["status"]}).items()
            }
        return ready, results

    async def metrics(self) -> bytes:
        """The metrics of all processes, each sample with a `process` label."""
        replies = await self._get_all("/metrics")
        for name, reply in replies.items():
            UP.labels(name).set(reply is not None)
        expositions = {self.own: generate_latest().decode()}
        return merged(
            expositions | {name: reply.text for name, reply in replies.items() if reply}
        ).encode()

    async def _get_all(self, path: str) -> dict[str, httpx.Response | None]:
        replies = await asyncio.gather(*(_get(address, path) for address in self.others.values()))
        return dict(zip(self.others, replies, strict=True))


def parse_peers(own: str, text: str) -> PeerProcesses | None:
    """Parses lines of `name=address`. Returns None for an empty text."""
    return (
        PeerProcesses(own, dict(line.split("=", 1) for line in text.splitlines())) if text else None
    )


def merged(expositions: Mapping[str, str]) -> str:
    """Merges Prometheus expositions: the samples of a metric stand together, with a `process`
    label.
    """
    families: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for process, text in expositions.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                # HELP and TYPE precede the samples and are equal in every process: kept once.
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
