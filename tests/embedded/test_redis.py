"""The Redis of `gittix up`."""

from tests.system import System


async def test_redis_has_a_memory_limit_and_evicts_nothing(system: System) -> None:
    # Tests run the command line of `gittix up`.
    settings = await system.redis().config_get("maxmemory*")
    assert settings["maxmemory"] == str(512 * 1_048_576)
    assert settings["maxmemory-policy"] == "noeviction"
