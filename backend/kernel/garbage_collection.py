"""Tunes Python's garbage collector for a process that serves (decision 27)."""

import gc

from backend.kernel.settings import Settings

# Python's default is (700, 10, 10). In a rush of buyers, a process has about 300,000 live objects,
# and a full collection traverses all of them.
THRESHOLDS = (500_000, 20, 50)


def tune(settings: Settings) -> None:
    """With `GC_TUNING=on`, exempt the present objects from collections, and collect less often."""
    if settings.gc_tuning == "on":
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
