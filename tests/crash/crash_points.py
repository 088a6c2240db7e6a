"""Crash points: named points before and after each commit and each effect outside the process.

A name consists of the effect and the function of ours that causes it, for example `before commit
payments.payment_steps._settle` or `after redis events.stream.append`. Environment variables control
a process at each point. With CRASH_RECORD it writes the name of the point to that file. At a point
in CRASH_AT it kills itself with SIGKILL (one name a line; `name#3` is the third time), and with
CRASH_KNOWN also at each point that is not listed there. Before that it writes the name of the point
to the file CRASH_DIED.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

RECORD = "CRASH_RECORD"
CRASH_AT = "CRASH_AT"
KNOWN = "CRASH_KNOWN"
DIED = "CRASH_DIED"

OURS = ("backend.", "workers.", "tests.crash.planted_faults")
# These functions work on behalf of their callers, so the caller gives the name.
SKIPPED = ("backend.kernel.", "backend.cli")
DELEGATING = frozenset(
    {
        "backend.tickets.routes._write",
        "backend.payments.payment_steps.PaymentSteps._advance",
        "tests.crash.planted_faults.reply_before_commit.<locals>.transaction",
    }
)


class CrashPoints:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._record = _opened(environ.get(RECORD))
        self._died = _opened(environ.get(DIED))
        self._armed = frozenset(environ.get(CRASH_AT, "").splitlines())
        self._known = frozenset(environ[KNOWN].splitlines()) if KNOWN in environ else None
        self._times: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        self._times[name] += 1
        if self._record is not None:
            os.write(self._record, f"{name}\n".encode())
        for called in (name, f"{name}#{self._times[name]}"):
            if called in self._armed:
                self._die(called)
        if self._known is not None and name not in self._known:
            self._die(name)

    @contextmanager
    def around(self, effect: str) -> Iterator[None]:
        """Reach a point before and after an effect.

        An effect that raises counts as not done: it has no point after it.
        """
        self.reach(f"before {effect}")
        yield
        self.reach(f"after {effect}")

    def _die(self, name: str) -> None:
        assert self._died is not None, f"{CRASH_AT} needs {DIED}"
        os.write(self._died, f"{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def caller() -> str | None:
    """Return our innermost function on the stack of this task, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        name = f"{module}.{frame.f_code.co_qualname}"
        if module.startswith(OURS) and not module.startswith(SKIPPED) and name not in DELEGATING:
            return _readable(frame, module)
        frame = frame.f_back
    return None


def _readable(frame: FrameType, module: str) -> str:
    function = frame.f_code.co_qualname.rpartition("<locals>.")[2].rpartition(".")[2]
    name = f"{module.removeprefix('backend.')}.{function}"
    if module == "backend.events.consumer":
        # Two consumers share this code; each has its own crash points.
        name += f" of {frame.f_locals['self'].name}"
    return name


def _opened(path: str | None) -> int | None:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if path else None
