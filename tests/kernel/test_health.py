"""The operations endpoints of a process without an API: liveness, readiness, metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from backend.events.relay import LEASE, Relay
from backend.kernel import health, supervisor
from backend.kernel.health import Check, NotReady
from backend.kernel.lease import lease
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings, SettingsError
from backend.kernel.supervisor import alive, heartbeat, running
from loadtests.ports import free_port
from tests.embedded.running import GITTIX, clean_environment
from tests.system import System


@asynccontextmanager
async def serving(**checks: Check) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    async with (
        health.served(Settings(ops_port=port)) as readiness,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        with readiness.checking(checks):
            yield client


async def passes() -> None: ...


async def test_a_process_that_is_not_ready_is_live_and_returns_each_check() -> None:
    async def fails() -> None:
        raise NotReady("the cellar is flooded")

    async def raises() -> None:
        raise ConnectionRefusedError("nobody there")

    async with serving(redis=passes, cellar=fails, database=raises) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {
        "status": "not ready",
        "checks": {
            "redis": "ok",
            "cellar": "the cellar is flooded",
            "database": "ConnectionRefusedError: nobody there",
        },
    }


async def test_a_process_is_not_ready_while_it_starts_or_drains() -> None:
    port = free_port()
    async with (
        health.served(Settings(ops_port=port)) as readiness,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def readiness_reply() -> tuple[int, dict[str, str]]:
            ready = await client.get("/readyz")
            return ready.status_code, ready.json()["checks"]

        assert await readiness_reply() == (503, {"process": "starting"})
        with readiness.checking({"redis": passes}):
            assert await readiness_reply() == (200, {"redis": "ok"})
        assert await readiness_reply() == (503, {"process": "draining"})
        assert (await client.get("/healthz")).status_code == 200


async def test_a_check_that_hangs_fails_after_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READY_SECONDS", 0.05)
    async with serving(database=asyncio.Event().wait) as client:  # type: ignore[arg-type]
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"][:12]) == (503, "TimeoutError")


async def test_metrics_are_exported() -> None:
    heartbeat("seen in metrics")
    async with serving() as client:
        shown = await client.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    assert 'gittix_task_heartbeat_timestamp_seconds{task="seen in metrics"}' in shown.text


async def test_nothing_listens_without_a_port() -> None:
    async with health.served(Settings()):
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "operations"]


async def test_a_unix_socket_is_private_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    path.touch()
    async with health.served(Settings(ops_host=str(path))) as readiness:
        assert path.stat().st_mode & 0o777 == 0o600
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            with readiness.checking({}):
                assert (await client.get("http://relay/readyz")).json() == {
                    "status": "ready",
                    "checks": {},
                }


async def test_an_address_in_use_is_an_error_with_its_remedy() -> None:
    port = free_port()
    async with health.served(Settings(ops_port=port)):
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} .*set OPS_HOST and OPS_PORT"):
            async with health.served(Settings(ops_port=port)):
                pass


async def test_a_task_is_ready_from_its_first_iteration_until_it_fails() -> None:
    check = alive("a loop")
    with pytest.raises(NotReady, match="not completed an iteration"):
        await check()
    turn, failure = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        heartbeat("a loop", "active")
        turn.set()
        await failure.wait()
        raise RuntimeError("out of paper")

    async with running(("a loop", work)):
        await turn.wait()
        assert await check() == "active"
        turn.clear()
        failure.set()
        await asyncio.sleep(0.01)
        with pytest.raises(NotReady, match=r"is being restarted: .*out of paper"):
            await check()


async def test_a_task_without_a_recent_heartbeat_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heartbeat("a silent loop")
    assert await alive("a silent loop")() is None
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 0.0)
    with pytest.raises(NotReady, match="sent no heartbeat for 0 s"):
        await alive("a silent loop")()


async def test_a_relay_is_ready_on_standby_and_when_active(system: System) -> None:
    url = system.settings.role_database_url("relay")
    redis = open_redis(system.settings.redis_url, name="readiness")
    relay = Relay(url, redis)
    try:
        async with AsyncExitStack() as stack:
            async with lease(url, LEASE, name="rival"):
                await stack.enter_async_context(running(("relay", relay.run)))
                assert await checks_when(relay, "standby") == {
                    "database": "ok",
                    "redis": "ok",
                    "relay": "standby",
                }
            assert await checks_when(relay, "active") == {
                "database": "ok",
                "redis": "ok",
                "relay": "active",
            }
    finally:
        await redis.aclose()


@pytest.mark.parametrize("command", [["relay"], ["worker"], ["worker", "jobs"]], ids=" ".join)
async def test_each_command_is_ready_when_all_its_tasks_are(
    system: System, command: list[str]
) -> None:
    loops = {
        "relay": {"relay"},
        "worker": {
            "jobs.arq",
            "consumers.consumer-expiration",
            "consumers.consumer-payments",
            "notifier.notifier",
        },
        "worker jobs": {"jobs.arq"},
    }[" ".join(command)]
    port = str(free_port())
    process = await asyncio.create_subprocess_exec(
        *GITTIX, *command, env=clean_environment() | system.environment | {"OPS_PORT": port}
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            ready = await until_ready(client)
            assert loops <= ready.keys()
            assert any(name.endswith("database") for name in ready)
            assert any(name.endswith("redis") for name in ready)
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert "gittix_task_heartbeat_timestamp_seconds" in (await client.get("/metrics")).text
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def checks_when(relay: Relay, status: str) -> dict[str, str]:
    """Its checks, once the relay's check returns this text."""
    async with asyncio.timeout(10), serving(**relay.checks()) as client:
        while True:
            checks: dict[str, str] = (await client.get("/readyz")).json()["checks"]
            if checks["relay"] == status:
                return checks
            await asyncio.sleep(0.02)


async def until_ready(client: httpx.AsyncClient) -> dict[str, str]:
    async with asyncio.timeout(20):
        while True:
            with suppress(httpx.TransportError):
                ready = await client.get("/readyz")
                if ready.status_code == 200:
                    checks: dict[str, str] = ready.json()["checks"]
                    return checks
            await asyncio.sleep(0.05)
