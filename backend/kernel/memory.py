"""What a process asks of the garbage collector, once it stands."""

import gc


def settle() -> None:
    """What stands now stays, and a rush has a hundred thousand live objects: the collector walks neither again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
