"""Nothing but images of others is installed or run by a name that can move to other content."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILES = ("backend/Dockerfile", "frontend/Dockerfile")


def test_ci_runs_actions_by_their_commit() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    used = [step["uses"] for step in workflow["jobs"]["ci"]["steps"] if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []


def test_the_installer_is_one_version_with_its_digests() -> None:
    text = (ROOT / "backend/uv.txt").read_text()
    (version,) = re.findall(r"^uv==([\d.]+) ", text, re.MULTILINE)
    assert version.count(".") == 2
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) > 5


@pytest.mark.parametrize("file", ["Makefile", *DOCKERFILES])
def test_pip_installs_nothing_but_the_installer_by_its_digest(file: str) -> None:
    text = (ROOT / file).read_text().replace("\\\n", " ")
    by_digest = "--require-hashes --requirement"
    text = text.replace("$(UV)", f"{by_digest} backend/uv.txt")
    installs = re.findall(r"pip (?:--python \S+ )?install ([^;&|]*)", text)
    assert installs
    for arguments in installs:
        assert re.search(rf"{by_digest} (backend/)?uv\.txt", arguments), arguments


@pytest.mark.parametrize("file", DOCKERFILES)
def test_the_base_image_can_be_chosen_by_digest(file: str) -> None:
    text = (ROOT / file).read_text()
    assert re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE) == [
        "python:3.11-slim-bookworm"
    ]
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages
    assert bases == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("file", DOCKERFILES)
def test_the_images_install_the_locked_packages(file: str) -> None:
    text = (ROOT / file).read_text()
    syncs = re.findall(r"uv sync ([^&\n]*)", text)
    assert syncs
    assert all("--frozen" in arguments for arguments in syncs)
    assert not re.search(r"\bnpm (install|i)\b", text)
