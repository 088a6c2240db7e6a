"""The rendered documents agree with Kubernetes' schemas, k8s/README.md and the repository."""

import re
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.k8s.configuration import connections
from tests.k8s.rendered import (
    OVERLAYS,
    ROOT,
    Rendered,
    containers,
    main_container,
    secret_variables,
)
from tests.k8s.tools import gateway_faults

# The oldest version with every feature in use: the sleep action of preStop.
KUBERNETES = "1.34"
GATEWAY = "gateway.networking.k8s.io/"
README = (ROOT / "k8s/README.md").read_text()


def faults(document: dict[str, Any]) -> str:
    """The errors of a document against its schema. A missing schema is an error too."""
    if document["apiVersion"].startswith(GATEWAY):
        return gateway_faults(document)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{type(error).__name__}: {error.message}"
    return ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_document_matches_its_schema(overlay: str, overlays: Mapping[str, Rendered]) -> None:
    found = {
        f"{each['kind']} {each['metadata']['name']}": faults(each)
        for each in overlays[overlay].documents
    }
    assert {name: fault for name, fault in found.items() if fault} == {}


@pytest.mark.parametrize(
    "document",
    [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "x"},
            "spec": {"ports": [{"port": "http"}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "x"},
            "spec": {"selectors": {}},
        },
        {"apiVersion": "v1", "kind": "Servant", "metadata": {"name": "x"}},
        {
            "apiVersion": f"{GATEWAY}v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "x"},
            "spec": {"rules": [{"backendRefs": [{"port": 80}]}]},
        },
    ],
    ids=["a wrong type", "an unknown field", "an unknown kind", "a route to nowhere"],
)
def test_an_invalid_document_is_found(document: dict[str, Any]) -> None:
    assert faults(document)


def test_the_page_lists_the_keys_of_the_secret(overlays: Mapping[str, Rendered]) -> None:
    used = {
        key
        for workload in overlays["prod"].workloads()
        for container in containers(workload)
        for key in secret_variables(container).values()
    }
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)) == used


def test_the_page_has_the_number_of_postgres_connections(
    overlays: Mapping[str, Rendered],
) -> None:
    assert f"**{connections(overlays['prod'])} connections**" in README


def test_only_the_development_overlay_contains_stores(
    overlays: Mapping[str, Rendered],
) -> None:
    stores = {"postgres", "redis", "push-redis", "stripe-sandbox"}
    assert {each["metadata"]["name"] for each in overlays["dev"].of("StatefulSet")} >= stores
    assert not {each["metadata"]["name"] for each in overlays["prod"].workloads()} & stores


def test_images_have_the_user_that_pods_run_as(overlays: Mapping[str, Rendered]) -> None:
    for part in ("backend", "frontend"):
        last = (ROOT / part / "Dockerfile").read_text().rpartition("\nFROM ")[2]
        user = overlays["prod"].workload("auth")["spec"]["template"]["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in last


def test_the_ingress_runs_the_files_that_compose_runs(overlays: Mapping[str, Rendered]) -> None:
    ingress = overlays["prod"].workload("ingress")
    volume = next(
        each
        for each in ingress["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "configuration"
    )
    config = overlays["prod"].named("ConfigMap", volume["configMap"]["name"])
    assert config is not None
    assert config["data"] == {
        name: (ROOT / "ingress" / name).read_text() for name in ("nginx.conf.template", "start")
    }
    assert main_container(ingress)["command"] == ["sh", "/ingress/start"]


def test_prometheus_has_the_rules_and_targets_of_compose(overlays: Mapping[str, Rendered]) -> None:
    folder = "k8s/components/monitoring"
    mounted = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["prometheus"][
        "volumes"
    ]
    for name in ("prometheus.yml", "rules.yaml"):
        assert [volume for volume in mounted if volume.startswith(f"./{folder}/{name}:")]
        found = [each["data"] for each in overlays["prod"].of("ConfigMap") if name in each["data"]]
        assert [data[name] for data in found] == [(ROOT / folder / name).read_text()]
