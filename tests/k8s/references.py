"""Rules about references: selectors and pods, ports, ConfigMaps and Secrets, images."""

import re
from collections.abc import Iterator

from tests.k8s.rendered import (
    NAME,
    SECRET,
    Rendered,
    containers,
    main_container,
    name_of,
    pod,
    pod_labels,
    secret_variables,
)

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
UPSTREAM = re.compile(r"^([\w-]+)\.(\w+)\.svc\.cluster\.local:(\d+)$")
PINNED = re.compile(r"(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$")


def selectors_match(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.of("Deployment", "StatefulSet"):
        if rendered.selected(workload["spec"]["selector"]) != [workload]:
            yield f"{name_of(workload)}: its selector does not match only its own pods"
    for kind, selector in (
        ("Service", lambda spec: {"matchLabels": spec["selector"]}),
        ("PodDisruptionBudget", lambda spec: spec["selector"]),
    ):
        for document in rendered.of(kind):
            if len(rendered.selected(selector(document["spec"]))) != 1:
                yield f"{kind} {name_of(document)}: its selector matches not exactly one workload"
    for policy in rendered.of("NetworkPolicy"):
        if not rendered.selected(policy["spec"]["podSelector"]):
            yield f"NetworkPolicy {name_of(policy)}: its selector matches no pod"


def service_ports_exist(rendered: Rendered) -> Iterator[str]:
    for service in rendered.of("Service"):
        for workload in rendered.selected({"matchLabels": service["spec"]["selector"]}):
            known = {
                port["name"]: port["containerPort"] for port in main_container(workload)["ports"]
            }
            for port in service["spec"]["ports"]:
                number = known.get(port["targetPort"])
                if number is None:
                    yield f"Service {name_of(service)}: its pods have no port {port['targetPort']}"
                elif service["spec"].get("clusterIP") == "None" and number != port["port"]:
                    yield f"Service {name_of(service)}: headless, so needs its pods' port {number}"


def probed_ports_exist(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.of("Deployment", "StatefulSet"):
        container = main_container(workload)
        known = {port["name"] for port in container["ports"]}
        for probe in PROBES:
            request = container.get(probe, {}).get("httpGet") or container.get(probe, {}).get(
                "tcpSocket"
            )
            if request and request["port"] not in known:
                yield f"{name_of(workload)}: its {probe} requests a missing port {request['port']}"


def ports_are_those_listened_on(rendered: Rendered) -> Iterator[str]:
    """A process listens on the port that its pod declares, by argument or by environment."""
    for workload in rendered.of("Deployment", "StatefulSet"):
        container = main_container(workload)
        words = [*container.get("args", ())]
        configured = {
            words[words.index(flag) + 1] for flag in ("--port", "--metrics-port") if flag in words
        }
        settings = rendered.settings(container)
        if pod_labels(workload).get("app.kubernetes.io/component") == "worker":
            configured.add(settings.get("OPS_PORT", ""))
        configured |= {
            settings[name] for name in ("LISTEN_PORT", "STATUS_PORT") if name in settings
        }
        declared = {str(port["containerPort"]) for port in container["ports"]}
        if configured and configured != declared:
            ports = f"listens on {sorted(configured)}, declares {sorted(declared)}"
            yield f"{name_of(workload)}: {ports}"


def references_resolve(rendered: Rendered) -> Iterator[str]:
    """References exist; each Secret is `gittix`, and its keys are names of variables."""
    for workload in rendered.workloads():
        name = name_of(workload)
        if not rendered.named("ServiceAccount", pod(workload)["serviceAccountName"]):
            yield f"{name}: its service account does not exist"
        if pod(workload)["serviceAccountName"] != pod_labels(workload)[NAME]:
            yield f"{name}: it uses the service account of another"
        for container in containers(workload):
            for source in container.get("envFrom", ()):
                if not rendered.named("ConfigMap", source["configMapRef"]["name"]):
                    yield f"{name}: no ConfigMap {source['configMapRef']['name']}"
            for entry in container.get("env", ()):
                secret = entry.get("valueFrom", {}).get("secretKeyRef", {}).get("name", SECRET)
                if secret.partition("-")[0] != SECRET:
                    yield f"{name}: {entry['name']} comes from Secret {secret}"
        for volume in pod(workload).get("volumes", ()):
            if "configMap" in volume and not rendered.named(
                "ConfigMap", volume["configMap"]["name"]
            ):
                yield f"{name}: it refers to a missing ConfigMap {volume['configMap']['name']}"
    for scaler in rendered.of("HorizontalPodAutoscaler"):
        target = rendered.named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        if target is None or "replicas" in target["spec"]:
            yield f"HorizontalPodAutoscaler {name_of(scaler)}: no Deployment, or one with replicas"


def config_maps_carry_their_hash(rendered: Rendered) -> Iterator[str]:
    for document in rendered.of("ConfigMap", "Secret"):
        if not re.search(r"-[a-z0-9]{10}$", name_of(document)):
            yield f"{document['kind']} {name_of(document)}: pods do not restart when it changes"


def dev_secrets_have_every_key(rendered: Rendered) -> Iterator[str]:
    """A generated Secret has every key that a container refers to."""
    for secret in rendered.of("Secret"):
        for workload in rendered.workloads():
            for container in containers(workload):
                for key in secret_variables(container).values():
                    if key not in secret["data"]:
                        yield f"{name_of(workload)}: the Secret has no {key}"


def images_are_pinned(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.workloads():
        for container in containers(workload):
            if not PINNED.search(container["image"]):
                yield f"{name_of(workload)}: image {container['image']} has no tag of its own"


def the_ingress_finds_its_services(rendered: Rendered) -> Iterator[str]:
    for variable, address in rendered.settings(
        main_container(rendered.workload("ingress"))
    ).items():
        if not variable.endswith("_UPSTREAM"):
            continue
        found = UPSTREAM.match(address)
        service = rendered.named("Service", found[1]) if found else None
        if not found or service is None or service["metadata"]["namespace"] != found[2]:
            yield f"{variable}: {address} is not the full name of a service"
        elif int(found[3]) not in [port["port"] for port in service["spec"]["ports"]]:
            yield f"{variable}: {address} is no port of the service"


def each_version_has_a_migration_of_its_own(rendered: Rendered) -> Iterator[str]:
    for job in rendered.of("Job"):
        tag = main_container(job)["image"].rpartition(":")[2]
        if name_of(job) != f"migrate-{tag}":
            yield f"Job {name_of(job)}: a change of its image {tag} would be refused"
        waiting = {
            each["image"]
            for workload in rendered.workloads()
            for each in containers(workload)
            if each["name"] == "migrated"
        }
        if waiting != {main_container(job)["image"]}:
            yield f"Job {name_of(job)}: pods wait for {sorted(waiting)}"


RULES = (
    selectors_match,
    service_ports_exist,
    probed_ports_exist,
    ports_are_those_listened_on,
    references_resolve,
    config_maps_carry_their_hash,
    dev_secrets_have_every_key,
    images_are_pinned,
    the_ingress_finds_its_services,
    each_version_has_a_migration_of_its_own,
)
