"""GitTix as it is deployed: two processes of each service, with nginx in front of them.

async with running(system) as fleet:
    await fleet.system.person("ana").get("/api/shows")     # through nginx
    await fleet.restart(fleet.services["orders"][0])
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from backend.embedded import frontend
from loadtests.ports import free_port
from tests.deploy.nginx import SERVICES, Nginx, ingress
from tests.embedded.running import GITTIX, clean_environment
from tests.system import PLAIN, System

PROXIES = "127.0.0.1"
READY_SECONDS = 40.0
STOP_SECONDS = 40.0
WITHOUT_HTTP = ("relay", "worker")


class Process:
    """One `gittix …` process with its log. `port` is None for a process without a server."""

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        log: Path,
        port: int | None,
    ) -> None:
        self.name = name
        self.log = log
        self.port = port
        self._arguments = arguments
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *GITTIX,
                *self._arguments,
                *(("--port", str(self.port)) if self.port else ()),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def until_ready(self) -> None:
        if self.port is None:
            return
        async with asyncio.timeout(READY_SECONDS), self.client() as client:
            while not await self._is_ready(client):
                assert self._process is not None
                assert self._process.returncode is None, self.log.read_text()[-4_000:]
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send SIGTERM, or SIGKILL. Returns the exit status."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), STOP_SECONDS)

    def client(self) -> httpx.AsyncClient:
        """A client of this process that bypasses the ingress."""
        return httpx.AsyncClient(base_url=f"http://{self.address}", timeout=10, verify=PLAIN)

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        with suppress(httpx.TransportError):
            return (await client.get("/readyz")).status_code == 200
        return False


class Fleet:
    """`system.url` and its push port are the ingress's, so that all clients go through it."""

    def __init__(
        self, system: System, services: Mapping[str, list[Process]], workers: Mapping[str, Process]
    ) -> None:
        self.system = system
        self.services = services
        self.workers = workers

    @property
    def processes(self) -> list[Process]:
        return [
            *(process for replicas in self.services.values() for process in replicas),
            *self.workers.values(),
        ]

    @property
    def upstreams(self) -> dict[str, str]:
        """The addresses of each service, in the ingress's format."""
        named = {
            name: " ".join(process.address for process in found)
            for name, found in self.services.items()
        }
        return named | {"sandbox": f"127.0.0.1:{self.system.ports['stripe']}"}

    async def start(self) -> None:
        await asyncio.gather(*(process.start() for process in self.processes))
        await asyncio.gather(*(process.until_ready() for process in self.processes))

    async def restart(self, process: Process, number: signal.Signals = signal.SIGTERM) -> int:
        """Restart it and wait until it is ready. Returns its exit status."""
        status = await process.end(number)
        await process.start()
        await process.until_ready()
        return status

    async def stop(self) -> None:
        await asyncio.gather(*(process.end(signal.SIGKILL) for process in self.processes))


@asynccontextmanager
async def running(
    system: System,
    *,
    replicas: int = 2,
    environment: Mapping[str, str] | None = None,
    **settings: str,
) -> AsyncIterator[tuple[Fleet, Nginx]]:
    """All processes of a fresh system; `settings` are the ingress's."""
    pages = await asyncio.to_thread(frontend.build, frontend.cache_folder(system.folder))
    port = system.ports["push"] = system.ports["api"]
    system.configure(
        PUSHER_PORT=str(port),
        STRIPE_SANDBOX_URL=system.stripe_url,
        FRONTEND_FOLDER=str(pages),
        TRUSTED_PROXIES=PROXIES,
        LOG_FORMAT="json",
        **(environment or {}),
    )
    fleet = assembled(system, replicas)
    await system.start("stripe")
    try:
        await fleet.start()
        async with ingress(
            system.folder, fleet.upstreams, LISTEN_PORT=str(port), **settings
        ) as nginx:
            yield fleet, nginx
    finally:
        await fleet.stop()


def assembled(system: System, replicas: int) -> Fleet:
    """The processes, none started yet."""
    common = clean_environment() | system.environment
    services: dict[str, list[Process]] = {name: [] for name in SERVICES}
    for name in ("push", *(name for name in SERVICES if name != "push")):
        for number in range(1, replicas + 1):
            own = common
            if name == "auth":
                # It ends sockets by the gateway's HTTP API, which the ingress does not route.
                own = common | {"PUSHER_PORT": str(services["push"][0].port)}
            served = "shop" if name == "frontend" else name
            log = system.folder / f"{name}-{number}.log"
            services[name].append(
                Process(f"{name}-{number}", ("serve", served), own, log, free_port())
            )
    workers = {
        name: Process(name, (name,), common, system.folder / f"{name}.log", None)
        for name in WITHOUT_HTTP
    }
    return Fleet(system, services, workers)
