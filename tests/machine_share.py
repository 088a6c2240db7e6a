"""Lets a test have the machine to itself while the other test processes wait.

Several test processes share the cores, so that one works while another waits. A test marked
`undisturbed` measures the machine itself, such as the frames of a browser.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Any two files that all processes have: they are locked, not read.
TURN = Path(__file__).with_name("__init__.py")
SHARE = Path(__file__)


@contextmanager
def machine_share(*, exclusive: bool) -> Iterator[None]:
    """Wait while a test of another process has the machine to itself; with `exclusive`, wait until
    no other test runs, and keep the next ones waiting.
    """
    with TURN.open() as turn, SHARE.open() as share:
        # The turn is held while waiting, so that later tests do not overtake an exclusive one.
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(share, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # A process that the test forked has the lock as well, until it is unlocked.
            fcntl.flock(share, fcntl.LOCK_UN)
