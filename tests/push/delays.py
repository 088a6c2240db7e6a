"""Replies that a test holds back, so that other things happen meanwhile."""

import asyncio
from typing import Any

import pytest


def hold_replies(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold back what an asynchronous method returns.

    Returns the event that is set when there is a reply, and the one that lets replies pass.
    """
    arrived, go_on = asyncio.Event(), asyncio.Event()
    original = getattr(owner, method)

    async def held(*arguments: Any, **named: Any) -> Any:
        reply = await original(*arguments, **named)
        arrived.set()
        await go_on.wait()
        return reply

    monkeypatch.setattr(owner, method, held)
    return arrived, go_on
