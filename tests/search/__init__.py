"""Tests that search: for a history, or an interleaving, whose outcome is not allowed."""

import pytest

# Where things are compared a failure must show both sides.
pytest.register_assert_rewrite("tests.search.mirror", "tests.search.paying")
