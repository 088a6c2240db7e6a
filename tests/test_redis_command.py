"""The commands of compose.yaml and k8s/ that start Redis, run with the embedded Redis."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from backend.embedded.redis import binary
from loadtests.ports import free_port
from tests.system import until

ROOT = Path(__file__).parents[1]
PASSWORD = "correct-horse_battery"
# Between its own attempts, the client waits for seconds.
NEVER = Retry(NoBackoff(), 0)


def of_compose(name: str) -> list[str]:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    # Compose replaces $$ by $.
    return [word.replace("$$", "$") for word in services[name]["command"]]


def of_kubernetes(name: str) -> list[str]:
    documents = yaml.safe_load_all((ROOT / f"k8s/overlays/dev/{name}.yaml").read_text())
    stateful: Any = next(each for each in documents if each["kind"] == "StatefulSet")
    arguments: list[str] = stateful["spec"]["template"]["spec"]["containers"][0]["args"]
    return arguments


def arguments_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("of", [of_compose, of_kubernetes])
@pytest.mark.parametrize(
    ("name", "appendonly", "megabytes"), [("redis", "yes", 384), ("push-redis", "no", 256)]
)
async def test_redis_demands_the_password_and_no_argument_contains_it(
    of: Callable[[str], list[str]], name: str, appendonly: str, megabytes: int, tmp_path: Path
) -> None:
    command = of(name)
    assert PASSWORD not in " ".join(command)
    port = free_port()
    # The command without its port, folder and limit of a container.
    own = [word.replace("redis-server -", f"redis-server - --port {port}") for word in command]
    process = await asyncio.create_subprocess_exec(
        *own,
        cwd=tmp_path,
        env={
            "PATH": f"{binary().parent}{os.pathsep}{os.environ['PATH']}",
            "REDISCLI_AUTH": PASSWORD,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with Redis(port=port, password=PASSWORD, retry=NEVER) as redis:

            async def answers() -> bool:
                try:
                    return bool(await redis.exists("key") == 0)
                except (RedisError, OSError):
                    return False

            await until(answers, seconds=20)
            settings = await redis.config_get("*")
        assert (settings["appendonly"], settings["maxmemory-policy"]) == (appendonly, "noeviction")
        assert settings["maxmemory"] == str(megabytes * 2**20)
        async with Redis(port=port, retry=NEVER) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.exists("key")
        arguments = arguments_of(process.pid)
        assert arguments.startswith(b"redis-server")
        assert PASSWORD.encode() not in arguments
    finally:
        process.terminate()
        await process.wait()
