"""Random requests for `tests/test_fuzz.py`."""
