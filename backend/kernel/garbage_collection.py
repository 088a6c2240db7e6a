"""What a process asks of the garbage collector, once it stands."""

import gc


def settle() -> None:
    """What stands now stays, and a rush has some 300,000 live objects: the collector walks
    neither again and again.
    """
    gc.freeze()
    gc.set_threshold(500_000, 20, 50)
