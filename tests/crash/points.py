"""Named points before and after each commit and each effect outside the process, and what happens at one.

A name tells what is done and by which function of ours: `before commit payments.payment_steps._settle`,
`after redis events.stream.append`. The environment says what to do when a point is reached: write its name down
(CRASH_RECORD, a file), or end this process as kill -9 does: at the points CRASH_AT, names a line each (`name#3` is the
third time), and with CRASH_KNOWN at any that is not among these. Which it was is left in the file CRASH_DIED.
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

OURS = ("backend.", "workers.", "tests.crash.sabotage")
# These do what others ask of them, so the others give the name.
PASSED_OVER = ("backend.kernel.", "backend.cli")
PASSING_ON = frozenset(
    {
        "backend.tickets.routes._write",
        "backend.payments.payment_steps.PaymentSteps._advance",
        "tests.crash.sabotage.reply_before_commit.<locals>.transaction",
    }
)


class Points:
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
    def around(self, what: str) -> Iterator[None]:
        """An effect that raises was not brought about, as far as this process can tell: it has no point after it."""
        self.reach(f"before {what}")
        yield
        self.reach(f"after {what}")

    def _die(self, name: str) -> None:
        assert self._died is not None, f"{CRASH_AT} needs {DIED}"
        os.write(self._died, f"{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def caller() -> str | None:
    """The function of ours that is nearest on the stack of this task, None when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        name = f"{module}.{frame.f_code.co_qualname}"
        if (
            module.startswith(OURS)
            and not module.startswith(PASSED_OVER)
            and name not in PASSING_ON
        ):
            return _readable(frame, module)
        frame = frame.f_back
    return None


def _readable(frame: FrameType, module: str) -> str:
    function = frame.f_code.co_qualname.rpartition("<locals>.")[2].rpartition(".")[2]
    name = f"{module.removeprefix('backend.')}.{function}"
    if module == "backend.events.consumer":
        # Two consumers share the code, and each has its own crash.
        name += f" of {frame.f_locals['self'].name}"
    return name


def _opened(path: str | None) -> int | None:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if path else None
