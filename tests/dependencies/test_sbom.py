"""The SBOM lists the packages of the locks that the images and the pages contain."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.dependencies import commands


def test_the_bill_of_materials_is_made_from_the_locks_without_a_network(tmp_path: Path) -> None:
    file = tmp_path / "gittix.cdx.json"
    environment = commands.environment() | dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1"
    )
    command = [sys.executable, "-m", "tests.dependencies.sbom", str(file)]
    subprocess.run(command, cwd=commands.ROOT, env=environment, check=True, capture_output=True)
    document = json.loads(file.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["name"] == "gittix"
    listed = {component["purl"] for component in document["components"]}
    assert len({each["bom-ref"] for each in document["components"]}) == len(document["components"])

    pages = json.loads((commands.PAGES / "package-lock.json").read_text())["packages"]
    assert {
        f"pkg:npm/{path.rpartition('node_modules/')[2].replace('@', '%40')}@{package['version']}"
        for path, package in pages.items()
        if path
    } == {purl for purl in listed if purl.startswith("pkg:npm/")}

    locked = {
        f"pkg:pypi/{package['name']}@{package['version']}"
        for package in tomllib.loads((commands.ROOT / "uv.lock").read_text())["package"]
        if "registry" in package["source"]
    }
    python = {purl.partition("?")[0] for purl in listed if purl.startswith("pkg:pypi/")}
    assert python < locked
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    for required in project["dependencies"]:
        name = required.partition(">")[0].partition("[")[0]
        assert any(purl.startswith(f"pkg:pypi/{name}@") for purl in python), name
    # Development tools are in no image.
    assert not any(purl.startswith(("pkg:pypi/pytest@", "pkg:pypi/locust@")) for purl in python)
