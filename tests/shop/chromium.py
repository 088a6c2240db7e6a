"""The Chromium of the tests: found on this machine, or installed by `python -m tests.shop.chromium`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: CI runs as root in a container. No background traffic: a test sees every request that is made.
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage")
INSTALL_SECONDS = 600


class NoChromium(Exception):
    """Neither is one here nor could it be had; the message is a sentence that says what to do."""


def executable() -> str:
    """Raises NoChromium: without a browser the shop is untested, which is no reason to pass."""
    found = next(filter(None, map(shutil.which, NAMES)), None) or _playwrights_own()
    if found is None:
        raise NoChromium(
            "The shop's tests need Chromium: run make chromium, or install your system's chromium package."
        )
    return found


def install() -> None:
    """Debian's package when we may, else Playwright's own. Raises NoChromium."""
    debian = os.geteuid() == 0 and shutil.which("apt-get")
    commands = (
        [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]]
        if debian
        else [[sys.executable, "-m", "playwright", "install", "chromium"]]
    )
    try:
        for command in commands:
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as fault:
        raise NoChromium(
            f"Chromium could not be installed ({fault}). Install it by hand, then run the tests again."
        ) from fault


def _playwrights_own() -> str | None:
    folder = Path(
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright")
    )
    return next(
        (str(path) for path in sorted(folder.glob("chromium-*/chrome-linux*/chrome"))), None
    )


def main() -> int:
    try:
        executable()
    except NoChromium:
        print("Installing Chromium for the shop's tests …")
        try:
            install()
            executable()
        except NoChromium as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
