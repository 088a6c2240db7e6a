"""Tests that search: for a history, or an interleaving, whose outcome is not allowed."""

import pytest

# Where things are compared a failure must show both sides.
for _module in (
    "clock",
    "comparison",
    "messages",
    "mirror",
    "paying",
    "refunds",
    "requests",
    "till",
    "trade",
):
    pytest.register_assert_rewrite(f"tests.search.{_module}")
