"""Runs rendered pods by Docker like a kubelet: users, limits, environment, init containers, probes.

Scheduling, rollouts, policies and admission need a cluster. A Service's name is an alias of its
pods, so it also finds pods that are not ready.
"""

import base64
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx

from tests.deploy.compose import BUILD_SECONDS, BUILDKIT, ROOT, docker
from tests.k8s.rendered import NAME as NAME_LABEL
from tests.k8s.rendered import Document, Rendered, main_container, pod, pod_labels
from tests.system import PLAIN

DOMAIN = "gittix.svc.cluster.local"
REFERENCE = re.compile(r"\$\((\w+)\)")
PROBE_SECONDS = 5.0


class Cluster:
    def __init__(self, rendered: Rendered, folder: Path) -> None:
        self.rendered = rendered
        self._folder = folder
        self._network = f"gittix-pods-{uuid4().hex[:8]}"

    def open(self) -> None:
        docker("network", "create", self._network)

    def close(self) -> None:
        for container in docker(
            "ps", "--all", "--quiet", "--filter", f"network={self._network}"
        ).split():
            docker("rm", "--force", "--volumes", container)
        docker("network", "rm", self._network)

    def start(self, name: str) -> None:
        """Start a workload's pod after its init containers."""
        for container in pod(self.rendered.workload(name)).get("initContainers", ()):
            status = self.wait(self.begin(name, container))
            assert status == 0, f"{name}, {container['name']} ended with {status}"
        self.begin(name, main_container(self.rendered.workload(name)))

    def begin(self, name: str, container: Document) -> str:
        """Start one container of a pod. Returns its name."""
        own = self._container(name, container)
        words = [*container.get("command", ()), *container.get("args", ())]
        environment = self.environment(container)
        expanded = [REFERENCE.sub(lambda match: environment[match[1]], word) for word in words]
        entry = ["--entrypoint", expanded.pop(0)] if "command" in container else []
        aliases = [name, f"{name}.{DOMAIN}"] if container["name"] == "app" else []
        docker(
            *("run", "--detach", "--name", own, "--network", self._network),
            *(word for alias in aliases for word in ("--network-alias", alias)),
            *self._restrictions(name, container),
            *self._mounts(name, container),
            *(word for key, value in environment.items() for word in ("--env", f"{key}={value}")),
            *entry,
            container["image"],
            *expanded,
        )
        return own

    def environment(self, container: Document) -> Mapping[str, str]:
        """A container's variables, with the values of the overlay's Secret."""
        held = {
            key: base64.b64decode(value).decode()
            for secret in self.rendered.of("Secret")
            for key, value in secret["data"].items()
        }
        variables = self.rendered.settings(container) | {
            entry["name"]: held[entry["valueFrom"]["secretKeyRef"]["key"]]
            for entry in container.get("env", ())
            if "valueFrom" in entry
        }
        return {
            key: REFERENCE.sub(lambda match: variables[match[1]], value)
            for key, value in variables.items()
        }

    def until_ready(self, name: str) -> float:
        """Wait for the startup and readiness probes, bounded by the first. Returns the seconds."""
        container = main_container(self.rendered.workload(name))
        startup = container["startupProbe"]
        began = time.monotonic()
        allowed = startup["periodSeconds"] * startup["failureThreshold"]
        for probe in (startup, container["readinessProbe"]):
            while not self._passes(name, container, probe):
                in_time = time.monotonic() - began < allowed and self.running(
                    self._container(name, container)
                )
                assert in_time, f"{name} is not ready: {self.log(name)}"
                time.sleep(0.2)
        return time.monotonic() - began

    def alive(self, name: str) -> bool:
        container = main_container(self.rendered.workload(name))
        return self._passes(name, container, container["livenessProbe"])

    def end(self, name: str) -> int:
        """Send the image's stop signal, and SIGKILL after the grace period. Returns the status."""
        grace = pod(self.rendered.workload(name))["terminationGracePeriodSeconds"]
        own = self._container(name, main_container(self.rendered.workload(name)))
        docker("stop", "--time", str(grace), own)
        return self.wait(own)

    def wait(self, own: str) -> int:
        return int(docker("wait", own))

    def running(self, own: str) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", own).strip() == "true"

    def log(self, name: str) -> str:
        own = self._container(name, main_container(self.rendered.workload(name)))
        result = subprocess.run(
            ["docker", "logs", "--tail", "30", own],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return result.stdout.decode()

    def address(self, name: str) -> str:
        own = self._container(name, main_container(self.rendered.workload(name)))
        template = f'{{{{(index .NetworkSettings.Networks "{self._network}").IPAddress}}}}'
        return docker("inspect", "--format", template, own).strip()

    def _container(self, name: str, container: Document) -> str:
        return f"{self._network}-{name}-{container['name']}"

    def _restrictions(self, name: str, container: Document) -> list[str]:
        own = pod(self.rendered.workload(name))["securityContext"]
        context = own | container["securityContext"]
        limits = container["resources"]["limits"]
        words = [
            "--user",
            f"{context['runAsUser']}:{context['runAsGroup']}",
            "--group-add",
            str(own["fsGroup"]),
        ]
        words += ["--memory", limits["memory"].removesuffix("i").lower(), "--cpus", limits["cpu"]]
        words += [
            word
            for capability in context["capabilities"]["drop"]
            for word in ("--cap-drop", capability)
        ]
        if context["readOnlyRootFilesystem"]:
            words.append("--read-only")
        if context["allowPrivilegeEscalation"] is False:
            words += ["--security-opt", "no-new-privileges"]
        return words

    def _mounts(self, name: str, container: Document) -> Iterator[str]:
        spec = self.rendered.workload(name)["spec"]
        own = pod(self.rendered.workload(name))["securityContext"]
        group, user = own["fsGroup"], (own | container["securityContext"])["runAsUser"]
        sources = {
            volume["name"]: volume
            for volume in pod(self.rendered.workload(name)).get("volumes", ())
        }
        claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())}
        for mount in container.get("volumeMounts", ()):
            source = sources.get(mount["name"], {})
            if "configMap" in source:
                yield from (
                    "--volume",
                    f"{self._files(source['configMap']['name'])}:{mount['mountPath']}:ro",
                )
            else:
                assert "emptyDir" in source or mount["name"] in claims, (
                    f"{name}: no volume {mount['name']}"
                )
                # fsGroup may write to a volume. Docker keeps the mode of the image's folder, so
                # the user may write to it too.
                yield from (
                    "--tmpfs",
                    f"{mount['mountPath']}:mode=2770,uid={user},gid={group},exec",
                )

    def _files(self, config: str) -> Path:
        folder = self._folder / config
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        found = self.rendered.named("ConfigMap", config)
        assert found is not None
        for name, text in found["data"].items():
            (folder / name).write_text(text)
        return folder

    def _passes(self, name: str, container: Document, probe: Document) -> bool:
        if "exec" in probe:
            own = self._container(name, container)
            result = subprocess.run(
                ["docker", "exec", own, *probe["exec"]["command"]], capture_output=True, check=False
            )
            return result.returncode == 0
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if "tcpSocket" in probe:
            with (
                suppress(OSError),
                socket.create_connection(
                    (self.address(name), ports[probe["tcpSocket"]["port"]]), timeout=PROBE_SECONDS
                ),
            ):
                return True
            return False
        with suppress(httpx.TransportError):
            path = f"http://{self.address(name)}:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
            return httpx.get(path, timeout=PROBE_SECONDS, verify=PLAIN).is_success
        return False


def build_images() -> None:
    """Build the images under the tag of overlays/dev, as k8s/README.md describes."""
    for part, image in (("backend", "gittix:dev"), ("frontend", "gittix-frontend:dev")):
        subprocess.run(
            ["docker", "build", "--quiet", "--file", f"{part}/Dockerfile", "--tag", image, "."],
            cwd=ROOT,
            env=os.environ | BUILDKIT,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=BUILD_SECONDS,
        )


@contextmanager
def cluster(rendered: Rendered, folder: Path) -> Iterator[Cluster]:
    """A container that is removed with its data after the block."""
    found = Cluster(rendered, folder)
    found.open()
    try:
        yield found
    finally:
        found.close()


def names(rendered: Rendered, *kinds: str) -> list[str]:
    return [pod_labels(workload)[NAME_LABEL] for workload in rendered.of(*kinds)]
