"""Model-based tests: they search for a history or a schedule with a forbidden outcome."""

import pytest

# A failed comparison in these modules must print both values.
for _module in (
    "clock",
    "comparison",
    "messages",
    "modelled_system",
    "paying",
    "refunds",
    "requests",
    "payment_actions",
    "market_actions",
):
    pytest.register_assert_rewrite(f"tests.search.{_module}")
