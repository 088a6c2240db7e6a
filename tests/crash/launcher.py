"""`gittix` with crash points: `python -m tests.crash.launcher <the arguments of gittix>`.

Production code has no hooks. Before the command runs, this module wraps each commit and each call
outside the process: asyncpg's COMMIT and statements that are a transaction of their own, Stripe,
writes to Redis, and arq's record that a job is done. CRASH_FAULTS names faults to plant, for
negative controls.
"""

import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from arq import worker as arq
from asyncpg.transaction import Transaction
from redis.asyncio.client import Pipeline, Redis

from backend.cli import main as gittix
from backend.payments.provider import Declined, Provider
from tests.crash import planted_faults
from tests.crash.crash_points import CrashPoints, caller
from workers import main as workers

Method = Callable[..., Awaitable[Any]]

FAULTS_VARIABLE = "CRASH_FAULTS"
EFFECTS_OF_STRIPE = ("create", "confirm", "capture", "cancel", "refund")
WRITES_OF_REDIS = frozenset(
    {"XADD", "XACK", "XTRIM", "XGROUP CREATE", "EVALSHA", "HSET", "HDEL", "HINCRBY", "PUBLISH"}
)
# A statement that writes, by itself or by one of our functions, except the functions that only
# read.
WRITES_OF_SQL = re.compile(
    r"\b(insert into|update|delete from)\s+\w+\.|\b(tickets|orders)\.(?!state|is_free|effective_status|availability)\w+\s*\(",
    re.IGNORECASE,
)
# These functions read, by a script that can also write.
READERS = frozenset({"events.stream.last"})
# arq's maintenance of its queue, which it repeats at its start.
ARQ = frozenset({"workers.main._run_arq"})


def main() -> None:
    points = CrashPoints(os.environ)
    wrap(points)
    for name in filter(None, os.environ.get(FAULTS_VARIABLE, "").split(",")):
        planted_faults.FAULTS[name]()
    # Run the reconciliation every second instead of every five.
    workers.RECONCILE_SECONDS = frozenset(range(60))
    gittix()


def wrap(points: CrashPoints) -> None:
    _wrap_commits(points)
    _wrap_statements(points)
    _wrap_stripe(points)
    _wrap_redis(points)
    _wrap_jobs(points)


def _wrap_commits(points: CrashPoints) -> None:
    commit: Method = getattr(Transaction, "_Transaction__commit")  # noqa: B009 - a mangled name

    async def wrapped(self: Any) -> None:
        function = None if self._nested else caller()
        if function is None:
            await commit(self)
            return
        with points.around(f"commit {function}"):
            await commit(self)

    setattr(Transaction, "_Transaction__commit", wrapped)  # noqa: B010


def _wrap_statements(points: CrashPoints) -> None:
    for name in ("_execute", "execute"):
        _wrap_statement(points, name)


def _wrap_statement(points: CrashPoints, name: str) -> None:
    run: Method = getattr(asyncpg.Connection, name)

    async def wrapped(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        # `execute` with arguments goes on to `_execute`.
        alone = not self.is_in_transaction() and not (name == "execute" and args)
        function = caller() if alone and WRITES_OF_SQL.search(query) else None
        if function is None:
            return await run(self, query, *args, **kwargs)
        with points.around(f"commit {function}"):
            return await run(self, query, *args, **kwargs)

    setattr(asyncpg.Connection, name, wrapped)


def _wrap_stripe(points: CrashPoints) -> None:
    for name in EFFECTS_OF_STRIPE:
        _wrap_call(points, name)


def _wrap_call(points: CrashPoints, name: str) -> None:
    call: Method = getattr(Provider, name)

    async def wrapped(self: Any, *args: Any) -> Any:
        points.reach(f"before stripe.{name}")
        try:
            found = await call(self, *args)
        except Declined:
            # Stripe has recorded the refusal.
            points.reach(f"after stripe.{name} declined")
            raise
        points.reach(f"after stripe.{name}")
        return found

    setattr(Provider, name, wrapped)


def _wrap_redis(points: CrashPoints) -> None:
    command: Method = Redis.execute_command
    execute: Method = Pipeline.execute

    async def wrapped_command(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = caller() if args[0] in WRITES_OF_REDIS else None
        if function is None or function in READERS | ARQ:
            return await command(self, *args, **kwargs)
        with points.around(f"redis {function}"):
            return await command(self, *args, **kwargs)

    async def wrapped_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = caller()
        if function is None or function in ARQ:
            return await execute(self, *args, **kwargs)
        with points.around(f"redis {function}"):
            return await execute(self, *args, **kwargs)

    # By setattr, since mypy rejects an assignment to a method.
    setattr(Redis, "execute_command", wrapped_command)  # noqa: B010
    setattr(Pipeline, "execute", wrapped_execute)  # noqa: B010


def _wrap_jobs(points: CrashPoints) -> None:
    finish: Method = arq.Worker.finish_job

    async def wrapped(self: Any, job_id: str, *args: Any, **kwargs: Any) -> None:
        with points.around(f"arq.finish {job_id.rpartition(':')[0]}"):
            await finish(self, job_id, *args, **kwargs)

    setattr(arq.Worker, "finish_job", wrapped)  # noqa: B010


if __name__ == "__main__":
    main()
