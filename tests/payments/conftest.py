from collections.abc import AsyncIterator

import pytest
import stripe

from tests.payments.shop import Shop, open_shop
from tests.system import System


@pytest.fixture
async def shop(system: System, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """The API and Stripe, with a seller and a buyer; no worker."""
    # The library's pause before it tries again.
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0.02)
    async with open_shop(system) as shop:
        await system.start("stripe", "api")
        yield shop
