"""The shop's pages are built once for each state of their sources, the same everywhere, or a sentence says why not."""

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
LOCKED = ("package.json", "package-lock.json")


def test_a_build_takes_the_locked_packages_and_is_kept(tmp_path: Path) -> None:
    folder = frontend.build(tmp_path)
    committed = Path(sources.__file__).parent / "reflex.lock"
    for name in LOCKED:
        assert _json(tmp_path / "work" / "reflex.lock" / name) == _json(committed / name), name
    assert (folder / "index.html").exists()
    assert list(folder.glob("assets/*.woff2"))
    assert not list(folder.rglob("*.jsx"))
    shutil.rmtree(tmp_path / "work")
    assert frontend.build(tmp_path) == folder
    assert not (tmp_path / "work").exists()


def test_a_changed_source_asks_for_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "frontend"
    shutil.copytree(Path(sources.__file__).parent, copy, ignore=frontend.IGNORED)
    monkeypatch.setattr(frontend, "_sources", lambda: copy)
    before = frontend.digest()
    with (copy / "assets" / "live" / "push.js").open("a") as script:
        script.write("\n")
    assert frontend.digest() != before


def test_without_the_registry_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("npm_config_registry", nobody)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", nobody)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(FrontendError, match=r"could not be built: .*\n.*reachable.* --no-frontend"):
        frontend.build(tmp_path)
    assert frontend.built(tmp_path) is None


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
