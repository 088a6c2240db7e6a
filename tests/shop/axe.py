"""axe-core, installed from the lock file beside this, put into a page and asked."""

import fcntl
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.push.watcher import INSTALL_SECONDS, node

HERE = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / ".cache" / "axe"
SERIOUS = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@functools.cache
def source() -> str:
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    with (CACHE / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        installed = CACHE / "installed-lock.json"
        if not installed.exists() or installed.read_bytes() != lock:
            _install()
            installed.write_bytes(lock)
    return (CACHE / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def serious_findings(page: Page) -> list[str]:
    """Each with its rule, and the elements that it is about."""
    # The shop's own policy forbids foreign scripts; the debugger may evaluate.
    await page.evaluate(source())
    report: dict[str, Any] = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{finding['id']}: {finding['help']} ({', '.join(str(node['target']) for node in finding['nodes'][:3])})"
        for finding in report["violations"]
        if finding["impact"] in SERIOUS
    ]


def _install() -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, CACHE / name)
    npm = Path(node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    subprocess.run(
        [node(), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=CACHE,
        check=True,
        timeout=INSTALL_SECONDS,
        stdout=subprocess.DEVNULL,
    )
