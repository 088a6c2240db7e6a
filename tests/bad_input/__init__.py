"""The bad requests of `tests/test_bad_input.py`."""
