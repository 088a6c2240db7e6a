"""The budgets of a page: first paint, layout shift and the weight of its scripts."""

from typing import Any

from playwright.async_api import CDPSession, Page

JS_BUDGET_BYTES = 350 * 1024
FIRST_PAINT_MS = 1000
LAYOUT_SHIFT = 0.05

# Layout shifts without a recent input.
WATCH_SHIFTS = """
    globalThis.shifted = 0;
    new PerformanceObserver(list => {
      for (const shift of list.getEntries())
        if (!shift.hadRecentInput) globalThis.shifted += shift.value;
    }).observe({type: "layout-shift", buffered: true});
"""


async def record_weight(page: Page) -> dict[str, int]:
    """The transferred bytes by kind; filled while the page loads."""
    session: CDPSession = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    kinds: dict[str, str] = {}
    weight = {"script": 0, "other": 0}

    def responded(event: dict[str, Any]) -> None:
        kinds[event["requestId"]] = (
            "script" if event["response"]["mimeType"].endswith("javascript") else "other"
        )

    def finished(event: dict[str, Any]) -> None:
        weight[kinds.get(event["requestId"], "other")] += int(event["encodedDataLength"])

    session.on("Network.responseReceived", responded)
    session.on("Network.loadingFinished", finished)
    return weight
