"""Which Chromium the shop's tests start, and what they report when there is none."""

import subprocess
from pathlib import Path

import pytest

from tests.shop import chromium


@pytest.fixture(autouse=True)
def no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))


def test_without_a_browser_the_tests_fail_and_name_the_remedy() -> None:
    with pytest.raises(chromium.NoChromium, match="make chromium"):
        chromium.executable()


@pytest.mark.parametrize(
    "binary",
    [
        "chromium-1234/chrome-linux64/chrome",
        "chromium_headless_shell-1234/chrome-headless-shell-linux64/chrome-headless-shell",
        "chromium_headless_shell-1234/chrome-linux/headless_shell",
    ],
)
def test_a_browser_that_playwright_installed_is_found(tmp_path: Path, binary: str) -> None:
    installed = program(tmp_path / binary)
    assert chromium.executable() == installed


def test_the_headless_shell_comes_before_a_whole_chromium(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "chromium")
    shell = program(tmp_path / "chromium_headless_shell-1" / "chrome-linux" / "headless_shell")
    assert chromium.executable() == shell


def test_a_whole_chromium_serves_when_the_headless_shell_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(100, "apt-get")

    monkeypatch.setattr(subprocess, "run", fail)
    assert chromium.main() == 1
    assert "Install your system's chromium package" in capsys.readouterr().err
    whole = program(tmp_path / "bin" / "chromium")
    assert chromium.main() == 0
    assert whole in capsys.readouterr().out


def program(path: Path) -> str:
    """An executable file at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return str(path)
