from tests.crash.conftest import nursery

__all__ = ["nursery"]
