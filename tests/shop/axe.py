"""The accessibility audit of a page by axe-core, which the lock file in `node` pins."""

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
    """The serious findings, each with its rule and its elements."""
    # The content security policy forbids other scripts in the page, but not the debugger's.
    await page.evaluate(source())
    report: dict[str, Any] = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{finding['id']}: {finding['help']} ({_targets(finding)})"
        for finding in report["violations"]
        if finding["impact"] in SERIOUS
    ]


def _targets(finding: dict[str, Any]) -> str:
    """The first elements of a finding."""
    return ", ".join(str(node["target"]) for node in finding["nodes"][:3])
