"""Which Chromium the shop's tests take; without one they fail."""

from pathlib import Path

import pytest

from tests.shop import chromium


def test_without_a_browser_the_tests_fail_and_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(chromium.NoChromium, match="make chromium"):
        chromium.executable()


def test_playwrights_own_browser_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "chromium-1234" / "chrome-linux64" / "chrome"
    binary.parent.mkdir(parents=True)
    binary.touch()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert chromium.executable() == str(binary)
