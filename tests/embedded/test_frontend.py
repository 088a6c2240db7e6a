"""The shop's pages are built once for each state of their inputs, or an error explains why not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import frontend as sources
from backend.embedded import frontend
from backend.embedded.frontend import FrontendError

pytestmark = pytest.mark.timeout(180)
SOURCES = Path(sources.__file__).parent
LOCK_FILES = ("package.json", "package-lock.json")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that a test may change."""
    folder = tmp_path / "frontend"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    monkeypatch.setattr(frontend, "_sources", lambda: folder)
    return folder


def test_a_build_takes_the_locked_packages_and_is_kept(tmp_path: Path) -> None:
    folder = frontend.build(tmp_path)
    for name in LOCK_FILES:
        assert _json(tmp_path / "work" / "reflex.lock" / name) == _json(
            SOURCES / "reflex.lock" / name
        ), name
    assert (folder / "index.html").exists()
    assert list(folder.glob("assets/*.woff2"))
    assert not list(folder.rglob("*.ts*"))
    shutil.rmtree(tmp_path / "work")
    assert frontend.build(tmp_path) == folder
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "source",
    ["assets/src/shared/push.ts", "assets/styles/base.css", "pages/show.py", "app.py"],
)
def test_a_changed_source_has_another_digest(copy: Path, source: str) -> None:
    before = frontend.digest()
    with (copy / source).open("a") as file:
        file.write("\n")
    assert frontend.digest() != before


def test_tests_and_tools_are_no_inputs_of_a_build(copy: Path) -> None:
    before = frontend.digest()
    for name in ("package.json", "tests/shared/new.test.ts", "node_modules/x/index.js"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("changed")
    assert frontend.digest() == before


def test_the_tools_check_the_versions_that_the_pages_have() -> None:
    tools = _json(SOURCES / "package.json")["devDependencies"]
    pages = _json(SOURCES / "reflex.lock" / "package-lock.json")["packages"]
    shared = {name: version for name, version in tools.items() if f"node_modules/{name}" in pages}
    assert shared.keys() >= {"pusher-js", "react", "react-dom", "react-router", "recharts"}
    assert shared == {name: pages[f"node_modules/{name}"]["version"] for name in shared}


def test_without_the_registry_the_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    unreachable = "http://127.0.0.1:9"
    monkeypatch.setenv("npm_config_registry", unreachable)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", unreachable)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(FrontendError, match=r"could not be built: .*\n.*reachable.* --no-frontend"):
        frontend.build(tmp_path)
    assert frontend.built(tmp_path) is None


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
