"""Rules about pods: user, limits, probes, spreading, replacement and shutdown."""

from collections.abc import Iterator

from backend import bootstrap
from backend.kernel.shutdown import FINISH_SECONDS
from tests.k8s.references import PROBES
from tests.k8s.rendered import (
    Document,
    Rendered,
    containers,
    main_container,
    matches,
    name_of,
    pod,
    pod_labels,
)

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST = ("hostNetwork", "hostPID", "hostIPC")


def pods_are_restricted(rendered: Rendered) -> Iterator[str]:
    """The restricted Pod Security Standard, and beyond it a read-only root and no token."""
    for workload in rendered.workloads():
        name, spec = name_of(workload), pod(workload)
        context = spec.get("securityContext", {})
        if any(spec.get(host) for host in HOST):
            yield f"{name}: it uses the node's namespaces"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: it has no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: it gets a token"
        for volume in spec.get("volumes", ()):
            if not VOLUMES & volume.keys():
                yield f"{name}: volume {volume['name']} is of a kind that is not allowed"
        for container in containers(workload):
            yield from _unrestricted(
                name, {**context, **container.get("securityContext", {})}, container
            )
    for account in rendered.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {name_of(account)}: its pods get a token"


def _unrestricted(name: str, context: Document, container: Document) -> Iterator[str]:
    name = f"{name}, container {container['name']}"
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield f"{name}: it may run as root"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield f"{name}: it may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: its root file system is writable"
    capabilities = context.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield f"{name}: it has capabilities"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield f"{name}: it takes a port of the node"


def the_namespace_enforces(rendered: Rendered) -> Iterator[str]:
    for namespace in rendered.of("Namespace"):
        if (
            namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
            != "restricted"
        ):
            yield "the namespace admits pods that are not restricted"
    inside = {name_of(namespace) for namespace in rendered.of("Namespace")}
    for document in rendered.documents:
        if document["kind"] != "Namespace" and document["metadata"].get("namespace") not in inside:
            yield f"{document['kind']} {name_of(document)}: it is outside the namespace"


def resources_are_bounded(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.workloads():
        for container in containers(workload):
            resources = container.get("resources", {})
            for bound in ("requests", "limits"):
                if not {"cpu", "memory"} <= resources.get(bound, {}).keys():
                    yield f"{name_of(workload)}, container {container['name']}: no {bound}"
        for volume in pod(workload).get("volumes", ()):
            if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
                yield f"{name_of(workload)}: volume {volume['name']} has no bound"


def pods_are_probed(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.of("Deployment", "StatefulSet"):
        container = main_container(workload)
        for probe in PROBES:
            if probe not in container:
                yield f"{name_of(workload)}: no {probe}"
        if container.get("livenessProbe", {}).get("httpGet", {}).get("path") == "/readyz":
            yield f"{name_of(workload)}: its liveness probe depends on a store"
        if "component" in "".join(pod_labels(workload)):
            paths = [container.get(probe, {}).get("httpGet", {}).get("path") for probe in PROBES]
            if paths != ["/healthz", "/readyz", "/healthz"]:
                yield f"{name_of(workload)}: its probes request {paths}"


def pods_have_time_to_end(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.of("Deployment", "StatefulSet"):
        spec, container = pod(workload), main_container(workload)
        settings = rendered.settings(container)
        before = (
            container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        )
        needed = before + _own_seconds(container, settings)
        if spec.get("terminationGracePeriodSeconds", 0) <= needed:
            yield f"{name_of(workload)}: its grace period must exceed {needed:.0f} s"


def _own_seconds(container: Document, settings: dict[str, str]) -> float:
    """The longest time that a process takes to end after its signal, in seconds."""
    match container.get("args"):
        case ["serve", service, *_]:
            drain = float(settings["DRAIN_SECONDS"]) if service == "push" else 0
            return float(settings["SHUTDOWN_DELAY_SECONDS"]) + drain + bootstrap.STOP_SECONDS
        case ["sandbox", *_]:
            return float(settings["SHUTDOWN_DELAY_SECONDS"]) + bootstrap.STOP_SECONDS
        case ["relay" | "worker", *_]:
            return FINISH_SECONDS
    return float(settings.get("WORKER_SHUTDOWN_SECONDS", 0))


def deployments_stay_up(rendered: Rendered) -> Iterator[str]:
    """Workloads stay available through a rollout, a drained node and a lost zone."""
    for deployment in rendered.of("Deployment"):
        name, spec = name_of(deployment), deployment["spec"]
        if spec.get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{name}: a rollout removes pods before new ones are ready"
        if not spec.get("revisionHistoryLimit"):
            yield f"{name}: no revisionHistoryLimit"
        if not any(
            matches(each["spec"]["selector"], pod_labels(deployment))
            for each in rendered.of("PodDisruptionBudget")
        ):
            yield f"{name}: no PodDisruptionBudget"
        spread = pod(deployment).get("topologySpreadConstraints", ())
        if {each["topologyKey"] for each in spread} != {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }:
            yield f"{name}: its pods may all be on one node"
        for constraint in spread:
            if not matches(constraint["labelSelector"], pod_labels(deployment)):
                yield f"{name}: its pods are spread by the labels of others"


RULES = (
    pods_are_restricted,
    the_namespace_enforces,
    resources_are_bounded,
    pods_are_probed,
    pods_have_time_to_end,
    deployments_stay_up,
)
