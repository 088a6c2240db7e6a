"""An overlay as kubectl renders it, with the queries of the rules."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.embedded.secrets import fill
from tests.k8s.tools import kustomize

ROOT = Path(__file__).parents[2]
OVERLAYS = ("dev", "prod")
SECRET = "gittix"
NAME = "app.kubernetes.io/name"

Document = dict[str, Any]


class Rendered:
    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, *kinds: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document | None:
        found = [document for document in self.of(kind) if name_of(document) == name]
        return found[0] if found else None

    def workloads(self) -> list[Document]:
        """The documents that create pods."""
        return self.of("Deployment", "StatefulSet", "Job")

    def workload(self, name: str) -> Document:
        return next(each for each in self.workloads() if pod_labels(each)[NAME] == name)

    def selected(self, selector: Mapping[str, Any]) -> list[Document]:
        """The workloads with pods that match a label selector."""
        return [each for each in self.workloads() if matches(selector, pod_labels(each))]

    def settings(self, container: Document) -> dict[str, str]:
        """A container's environment; for a value of a Secret, the name of its key."""
        environment: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            config = self.named("ConfigMap", source["configMapRef"]["name"])
            environment |= config["data"] if config else {}
        for entry in container.get("env", ()):
            if "value" in entry:
                environment[entry["name"]] = entry["value"]
        return environment


def render(overlay: str, folder: Path) -> Rendered:
    """Render an overlay, with sample secrets in its copy in `folder`. Raises ToolError."""
    for part in ("k8s", "ingress"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.env"))
    example = folder / "k8s/overlays/dev/secrets.env.example"
    example.with_suffix("").write_text(fill(example.read_text(), expand=True))
    return Rendered(kustomize(folder / "k8s/overlays" / overlay))


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def pod(workload: Document) -> Document:
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def pod_labels(workload: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"].get("labels", {})
    return labels


def main_container(workload: Document) -> Document:
    container: Document = pod(workload)["containers"][0]
    return container


def containers(workload: Document) -> Iterator[Document]:
    yield from pod(workload).get("initContainers", ())
    yield from pod(workload)["containers"]


def secret_variables(container: Document) -> dict[str, str]:
    """The key of the Secret for each variable that comes from it."""
    return {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]["key"]
        for entry in container.get("env", ())
        if "valueFrom" in entry
    }


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector (matchLabels, In) matches these labels; an empty one matches all."""
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(label) == value for label, value in wanted) and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", ())
    )
