"""Tests of compose.yaml without Docker: complete settings, separate secrets, resource limits."""

import itertools
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.embedded.secrets import fill
from backend.kernel.settings import Settings, load
from tests import processes
from tests.processes import EXTRA_SETTINGS, SETTINGS, TELEMETRY

Service = dict[str, Any]

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text()
PLACEHOLDER = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
OURS = {
    "gittix": "backend/Dockerfile",
    "gittix-frontend": "frontend/Dockerfile",
    "gittix-load": "backend/Dockerfile",
}
ONE_SHOTS = {"migrate", "load-headless"}
# Tools of the operator. Stripe's ledger, which the check compares, is none of its needs.
OPERATORS = {"migrate", "check", "load", "load-headless"}


@cache
def services() -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


@cache
def example() -> Mapping[str, str]:
    """The .env of a new installation."""
    values: dict[str, str] = {}
    for line in fill(EXAMPLE).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[name] = interpolated(value, values)
    return values


def interpolated(text: object, values: Mapping[str, str]) -> str:
    """A value after compose's interpolation of each `${NAME}`."""

    def value(match: re.Match[str]) -> str:
        name, rule, other = match[1], match[2] or "", match[3] or ""
        missing = not values.get(name) if rule.startswith(":") else name not in values
        if missing and rule.endswith("?"):
            raise AssertionError(f"{name}: {other}")
        return other if missing else values[name]

    return PLACEHOLDER.sub(value, str(text))


def environment(name: str) -> dict[str, str]:
    return {
        key: interpolated(value, example())
        for key, value in services()[name].get("environment", {}).items()
    }


def needs(name: str) -> tuple[str, ...]:
    """The needs of the process, as `settings.load` takes them, without those that its
    image sets.
    """
    # A load test checks the invariants when it ends.
    arguments = (
        ["check"] if name.startswith("load") else services()[name].get("command", ["serve", "shop"])
    )
    return tuple(need for need in processes.needs(arguments) if need != "frontend_folder")


def ours() -> list[str]:
    return [name for name, service in services().items() if service["image"] in OURS]


@pytest.mark.parametrize("name", services())
def test_a_service_has_limits_a_health_check_and_no_privileges(name: str) -> None:
    service = services()[name]
    for limit in ("mem_limit", "cpus", "pids_limit"):
        assert limit in service, limit
    assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & service.keys()
    check = service["healthcheck"]
    assert (
        check == {"disable": True} if name in ONE_SHOTS else check["test"] and check["start_period"]
    )
    assert service["networks"]
    for mount in service.get("volumes", []):
        if mount.startswith("."):
            assert mount.endswith(":ro")
            assert (ROOT / mount.partition(":")[0]).exists(), mount


@pytest.mark.parametrize("name", services())
def test_a_port_is_open_to_this_machine_alone(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert interpolated(port, example()).startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", sorted(services().keys() - {"ingress"}))
def test_a_page_without_a_login_is_open_to_this_machine_alone_whatever_the_shops_address(
    name: str,
) -> None:
    for port in services()[name].get("ports", []):
        assert interpolated(port, {**example(), "BIND": "0.0.0.0"}).startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", services())
def test_no_secret_is_an_argument_of_a_process(name: str) -> None:
    """Every user of the machine can list the arguments of every process."""
    service = services()[name]
    words = [service.get("command", []), service.get("entrypoint", []), service["healthcheck"]]
    named = {match[1] for match in PLACEHOLDER.finditer(str(words).replace("$$", ""))}
    assert not {variable for variable in named if re.search("PASSWORD|SECRET|_KEY", variable)}


def test_only_the_ingress_may_name_the_address_of_a_client() -> None:
    for name in ours():
        trusted = environment(name).get("TRUSTED_PROXIES", "ingress")
        assert trusted == "ingress", name
    assert "ingress" in services()


def test_one_port_is_open_but_for_profiles() -> None:
    assert [
        name
        for name, service in services().items()
        if service.get("ports") and "profiles" not in service
    ] == ["ingress"]


@pytest.mark.parametrize("name", ours())
def test_a_process_gets_known_settings_and_all_that_it_needs(name: str) -> None:
    variables = environment(name)
    unknown = {name for name in variables.keys() - SETTINGS if not TELEMETRY.fullmatch(name)}
    assert not {name for name in unknown if not name.startswith("LOAD_")}
    assert not unknown or name.startswith("load")
    load(variables, needs=needs(name))


@pytest.mark.parametrize("name", sorted(set(ours()) - OPERATORS))
def test_a_process_has_no_secret_but_its_own(name: str) -> None:
    allowed = {need.upper() for need in needs(name)} | EXTRA_SETTINGS.get(name, frozenset())
    databases = {
        f"{need.partition(':')[2].upper()}_DATABASE_URL" for need in needs(name) if ":" in need
    }
    variables = environment(name)
    assert {name for name in variables if name.endswith("DATABASE_URL")} == databases
    for secret in (
        "JWT_PRIVATE_KEY",
        "STRIPE_API_KEY",
        "STRIPE_WEBHOOK_SECRETS",
        "REDIS_URL",
        "PUSH_REDIS_URL",
    ):
        assert (secret in variables) == (secret in allowed), secret
    # The worker publishes to hosted Pusher when that replaces the gateway.
    assert ("PUSHER_SECRET" in variables) == ("PUSHER_SECRET" in allowed or name == "worker")


@pytest.mark.parametrize("name", ["check", "load", "load-headless"])
def test_a_tool_that_checks_the_invariants_cannot_change_a_row_or_sign_a_token(name: str) -> None:
    variables = environment(name)
    databases = {variable for variable in variables if variable.endswith("DATABASE_URL")}
    assert databases == {"CHECK_DATABASE_URL"}
    assert not {"JWT_PRIVATE_KEY", "PUSHER_SECRET", "STRIPE_WEBHOOK_SECRETS"} & variables.keys()
    assert "gittix_check:" in variables["CHECK_DATABASE_URL"]


def test_no_two_services_log_in_with_the_same_password() -> None:
    urls = {value for key, value in environment("migrate").items() if key.endswith("DATABASE_URL")}
    passwords = {url.partition("@")[0].rpartition(":")[2] for url in urls}
    assert len(passwords) == len(urls) == 8


def test_the_stores_are_reachable_only_by_their_clients_and_have_no_egress() -> None:
    networks = yaml.safe_load((ROOT / "compose.yaml").read_text())["networks"]
    assert networks["stores"] == {"internal": True}
    for name, service in services().items():
        stores = {"DATABASE_URL", "REDIS_URL", "POSTGRES_USER", "REDISCLI_AUTH"}
        is_client = any(key.endswith(tuple(stores)) for key in service.get("environment", {}))
        assert ("stores" in service["networks"]) == (is_client or name == "prometheus"), name
    for name in ("postgres", "redis", "push-redis"):
        assert services()[name]["networks"] == ["stores"]


@pytest.mark.parametrize("name", ["redis", "push-redis"])
def test_redis_refuses_writes_before_its_container_is_out_of_memory(name: str) -> None:
    service = services()[name]
    options = dict(itertools.pairwise(" ".join(service["command"]).split()))
    assert options["--maxmemory-policy"] == "noeviction"
    limit, memory = (
        int(size.rstrip("mb")) for size in (options["--maxmemory"], service["mem_limit"])
    )
    assert limit <= memory * 0.8


def test_the_ingress_uses_the_port_of_each_service() -> None:
    assert set(services()["ingress"]["depends_on"]) >= {
        "auth",
        "tickets",
        "orders",
        "payments",
        "frontend",
    }
    template = (ROOT / "ingress" / "nginx.conf.template").read_text() + (
        ROOT / "ingress" / "start"
    ).read_text()
    for variable, value in environment("ingress").items():
        assert variable in template
        for address in value.split() if variable.endswith("_UPSTREAM") else ():
            name, port = address.split(":")
            command = services()[name].get("command", ["--port", "8000"])
            assert port in {command[-1], command[-1].removeprefix("--port=")}, address


def test_the_example_explains_each_variable_of_the_compose_file() -> None:
    in_compose = {match[1] for match in PLACEHOLDER.finditer((ROOT / "compose.yaml").read_text())}
    in_example = {match[1] for match in PLACEHOLDER.finditer(EXAMPLE)}
    defined = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))
    assert in_compose <= defined
    assert defined <= in_compose | in_example


def test_the_example_has_no_secret_and_the_defaults_of_the_settings() -> None:
    values = dict(re.findall(r"^(\w+)=(.+)$", EXAMPLE, re.MULTILINE))
    assert not [
        name
        for name, value in values.items()
        if re.search("PASSWORD|SECRET|_KEY$", name) and "${" not in value
    ]
    market = {name: value for name, value in values.items() if name in SETTINGS and value.isdigit()}
    assert market["HOLD_SECONDS"] == "60"
    defaults = Settings()
    for name in market.keys() - {"PUSHER_APP_ID"}:
        assert str(getattr(defaults, name.lower())) == market[name], name


def test_compose_without_an_env_file_is_an_error_with_its_remedy() -> None:
    for name, service in services().items():
        for value in service.get("environment", {}).values():
            for match in PLACEHOLDER.finditer(str(value)):
                if re.search("PASSWORD|PRIVATE|SECRET", match[1]) and match[2]:
                    assert match[3] == "run `make env`, which writes .env", name


def test_images_are_ours_or_named_by_a_version() -> None:
    for name, service in services().items():
        image = interpolated(service["image"], example())
        if image in OURS:
            assert service["build"]["dockerfile"] == OURS[image], name
            assert (ROOT / OURS[image]).exists()
        else:
            assert re.fullmatch(r"[a-z/]+:v?[0-9][\w.-]+", image), image
            # The images of GitTix contain tini.
            assert service["init"] is True


def test_the_two_dockerfiles_share_their_first_stage() -> None:
    stages = [
        (ROOT / file).read_text().partition(" AS build\n")[2].partition("\n\n")[0]
        for file in set(OURS.values())
    ]
    assert stages[0]
    assert len(set(stages)) == 1


def test_the_development_file_changes_existing_services() -> None:
    live = yaml.safe_load((ROOT / "compose.dev.yaml").read_text())["services"]
    assert live.keys() <= services().keys()
    for service in live.values():
        for mount in service["volumes"]:
            source, _, rest = mount.partition(":")
            assert (ROOT / source).is_dir()
            assert rest.endswith(":ro")
