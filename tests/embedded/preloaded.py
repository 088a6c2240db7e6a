"""`gittix` with processes that start in milliseconds: `python -m tests.embedded.preloaded up …`.

`gittix up` starts seven processes, and each imports the same modules for 0.5 to 0.8 s of CPU
time. Here it imports them once, and forks its processes without the exec that would import them
again. All else is the production code: the supervisor, the arguments and the environment of each
process. Tests of the start itself run `python -m backend.cli`.
"""

import asyncio
import ctypes
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from unittest.mock import patch

from backend.cli import main as gittix
from tests.crash.fork_server import IMPORTED_WHEN_RUN, run_and_exit

PR_SET_NAME = 15
COMMAND = (sys.executable, "-m", "backend.cli")
SIGNALS = (signal.SIGTERM, signal.SIGHUP)

create_process = asyncio.create_subprocess_exec


def main() -> None:
    for name in IMPORTED_WHEN_RUN:
        importlib.import_module(name)
    # A collection in a forked process must not close file descriptors of its parent's objects.
    gc.freeze()
    with patch.object(asyncio, "create_subprocess_exec", _create_process):
        gittix()


async def _create_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    if command[:3] == COMMAND:
        options["preexec_fn"] = _running_gittix(command[3:], options["env"], options["preexec_fn"])
    return await create_process(*command, **options)


def _running_gittix(
    arguments: Sequence[str], environment: Mapping[str, str], prepare: Callable[[], None]
) -> Callable[[], NoReturn]:
    """Return the function that the child calls after the fork, and that never returns."""

    def run() -> NoReturn:
        gc.freeze()
        prepare()
        # Among these is the pipe by which the parent waits for the exec.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # The command line stays that of the parent.
        ctypes.CDLL(None).prctl(PR_SET_NAME, " ".join(arguments).encode(), 0, 0, 0)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["gittix", *arguments]
        run_and_exit(gittix)

    return run


if __name__ == "__main__":
    main()
