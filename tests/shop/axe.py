"""axe-core, installed from the lock file beside this, put into a page and asked."""

import functools
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.node import installed

HERE = Path(__file__).parent / "node"
SERIOUS = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@functools.cache
def source() -> str:
    return (installed(HERE, "axe") / "node_modules" / "axe-core" / "axe.min.js").read_text()


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
