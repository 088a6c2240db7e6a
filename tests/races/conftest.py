from tests.crash.conftest import fork_server

__all__ = ["fork_server"]
