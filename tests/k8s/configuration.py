"""Rules about settings: each process has those it needs, no others, and no secret in plain text."""

import re
from collections.abc import Iterator

from backend.kernel.settings import ROLES, SettingsError, load
from tests import processes
from tests.k8s.rendered import (
    ROOT,
    Document,
    Rendered,
    containers,
    main_container,
    name_of,
    secret_variables,
)
from tests.processes import EXTRA_SETTINGS, SETTINGS, TELEMETRY

OURS = ("gittix", "gittix-frontend")
# Values that permit a login, a signature or a payment.
SECRET_NAME = re.compile(r"PRIVATE|SECRET|PASSWORD|API_KEY|DATABASE_URL|REDIS_URL|TOKEN")
SECRET_VALUE = re.compile(r"(sk|rk)_(live|test)_|whsec_|-----BEGIN|://[^/\s]*:[^/\s]*@")
# A sample for the value of a Secret that the overlay does not generate.
SAMPLE = {
    "STRIPE_API_KEY": "sk_test_sample",
    "STRIPE_WEBHOOK_SECRETS": "whsec_sample",
}


def needs(container: Document) -> tuple[str, ...]:
    """The needs of a container's process, as `load` takes them."""
    return processes.needs(container.get("args", ()))


def variables_are_settings(rendered: Rendered) -> Iterator[str]:
    ingress_variables = _ingress_variables()
    for name, container, environment in _processes(rendered):
        known = (
            SETTINGS
            if _is_ours(container)
            else ingress_variables
            if name == "ingress"
            else set(environment)
        )
        for variable in environment.keys() - known:
            if not TELEMETRY.fullmatch(variable):
                yield f"{name}: {variable} is no setting"


def processes_have_what_they_need(rendered: Rendered) -> Iterator[str]:
    """`load` accepts the settings, names and values."""
    for name, container, environment in _processes(rendered):
        if not _is_ours(container):
            continue
        try:
            load(environment | _image_environment(container), needs=needs(container))
        except SettingsError as error:
            yield f"{name}: {error}"


def secrets_go_where_they_are_needed(rendered: Rendered) -> Iterator[str]:
    for name, container, _ in _processes(rendered):
        if not _is_ours(container):
            continue
        allowed = {_variable(need) for need in needs(container)} | EXTRA_SETTINGS.get(
            name, frozenset()
        )
        if container["name"] == "migrated":
            allowed |= {f"{role.upper()}_DATABASE_URL" for role in ROLES}
        for variable in secret_variables(container).keys() - allowed:
            yield f"{name}, container {container['name']}: it does not need {variable}"


def secrets_are_references(rendered: Rendered) -> Iterator[str]:
    for name, container, _ in _processes(rendered):
        for entry in container.get("env", ()):
            value = entry.get("value", "")
            if (
                SECRET_NAME.search(entry["name"])
                and not value.startswith("$(")
                and "value" in entry
            ):
                yield f"{name}: {entry['name']} is in plain text"
    for config in rendered.of("ConfigMap"):
        for key, value in config["data"].items():
            if SECRET_NAME.search(key) or SECRET_VALUE.search(value):
                yield f"ConfigMap {name_of(config)}: {key} has the form of a secret"


def logs_are_json(rendered: Rendered) -> Iterator[str]:
    for name, container, environment in _processes(rendered):
        if (
            _is_ours(container)
            and container["name"] == "app"
            and environment.get("LOG_FORMAT", "json") != "json"
        ):
            yield f"{name}: its log is not JSON"


def connections(rendered: Rendered) -> int:
    """The maximum of connections to Postgres, with each Deployment at its maximum in a rollout."""
    most = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"]["maxReplicas"]
        for scaler in rendered.of("HorizontalPodAutoscaler")
    }
    total = 0
    for deployment in rendered.of("Deployment"):
        container = main_container(deployment)
        secrets = list(secret_variables(container))
        # A service reads the ended sessions on a connection of its own, and push has no pool.
        readers = secrets.count("JWT_PUBLIC_KEYS")
        pools = sum(
            variable.endswith("DATABASE_URL") and variable != "PUSH_DATABASE_URL"
            for variable in secrets
        ) + (name_of(deployment) == "worker-notifier")
        pods = most.get(name_of(deployment), deployment["spec"].get("replicas", 1)) + 1
        size = int(rendered.settings(container).get("DATABASE_POOL_SIZE", 0))
        total += pods * (pools * size + readers)
    return total


def _processes(rendered: Rendered) -> Iterator[tuple[str, Document, dict[str, str]]]:
    """Each container, its workload's name, and its environment with samples for Secrets."""
    for workload in rendered.workloads():
        for container in containers(workload):
            samples = {
                variable: SAMPLE.get(variable, "sample") for variable in secret_variables(container)
            }
            yield name_of(workload), container, rendered.settings(container) | samples


def _is_ours(container: Document) -> bool:
    return container["image"].partition(":")[0].rpartition("/")[2] in OURS


def _variable(need: str) -> str:
    _, _, role = need.partition("database:")
    return f"{role.upper()}_DATABASE_URL" if role else need.upper()


def _ingress_variables() -> set[str]:
    """The variables that the template's head lists."""
    head = (ROOT / "ingress/nginx.conf.template").read_text().partition("worker_processes")[0]
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bRESOLVER\b", head))


def _image_environment(container: Document) -> dict[str, str]:
    """The environment that the image sets."""
    folder = "frontend" if "gittix-frontend" in container["image"] else "backend"
    last = (ROOT / folder / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    return {
        name: value
        for line in re.findall(r"^ENV (.*)$", last, re.MULTILINE)
        for name, _, value in (word.partition("=") for word in line.split())
        if name in SETTINGS
    }


RULES = (
    variables_are_settings,
    processes_have_what_they_need,
    secrets_go_where_they_are_needed,
    secrets_are_references,
    logs_are_json,
)
