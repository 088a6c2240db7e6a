"""Finds the Chromium that the shop's tests drive, or installs it: `python -m tests.shop.chromium`.

The headless shell renders a page for a quarter of the CPU time of a whole Chromium, so it comes
first; a whole Chromium passes the same tests.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Where Playwright keeps what it installs, on x86 and on ARM.
PLAYWRIGHT_SHELLS = "chromium_headless_shell-*/*/*headless[-_]shell"
PLAYWRIGHT_BROWSERS = "chromium-*/chrome-linux*/chrome"
# No sandbox: CI runs as root in a container. No background traffic: a test counts every request.
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage")
INSTALL_SECONDS = 600
APT = ("apt-get", "-qq")
# Without its recommendations, a graphical desktop, it needs a font that is named.
DEBIAN_PACKAGES = ("chromium-headless-shell", "fonts-liberation")


class NoChromium(Exception):
    """No Chromium was found, or none could be installed; the message names the remedy."""


def executable() -> str:
    """The path of the browser to start. Raises NoChromium: tests without a browser must fail."""
    found = headless_shell() or _on_path(BROWSERS) or _from_playwright(PLAYWRIGHT_BROWSERS)
    if found is None:
        raise NoChromium(
            "The shop's tests need Chromium: run make chromium, "
            "or install your system's chromium package."
        )
    return found


def headless_shell() -> str | None:
    return _on_path(SHELLS) or _from_playwright(PLAYWRIGHT_SHELLS)


def install() -> None:
    """Install the headless shell: as root on Debian its package, else Playwright's own build.

    Raises NoChromium.
    """
    playwright = [[sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]]
    debian = [
        [*APT, "update"],
        [*APT, "install", "-y", "--no-install-recommends", *DEBIAN_PACKAGES],
    ]
    try:
        if os.geteuid() == 0 and shutil.which("apt-get"):
            _run(debian)
        else:
            _run(playwright)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoChromium(
            f"Chromium could not be installed ({error}). "
            "Install your system's chromium package, then run the tests again."
        ) from error


def _run(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)


def _on_path(names: Sequence[str]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def _from_playwright(pattern: str) -> str | None:
    folder = Path(
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright")
    )
    return next((str(path) for path in sorted(folder.glob(pattern)) if path.is_file()), None)


def main() -> int:
    if headless_shell():
        return 0
    print("Installing Chromium's headless shell for the shop's tests …")
    try:
        install()
    except NoChromium as error:
        try:
            print(f"{error}\nThe tests use {executable()} instead, which is slower.")
        except NoChromium:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
