"""`gittix` with crash points: `python -m tests.crash.launcher <the arguments of gittix>`.

Production code has no hooks. This wraps, from outside and before the command runs, what it commits and whom it calls:
asyncpg's COMMIT and the statements that are a transaction of their own, Stripe, Redis's writes, and arq's own mark that
a job is done. CRASH_SABOTAGE names faults to build in, for negative controls.
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
from tests.crash import sabotage
from tests.crash.points import Points, caller
from workers import main as workers

Method = Callable[..., Awaitable[Any]]

SABOTAGE = "CRASH_SABOTAGE"
EFFECTS_OF_STRIPE = ("create", "confirm", "capture", "cancel", "refund")
WRITES_OF_REDIS = frozenset(
    {"XADD", "XACK", "XTRIM", "XGROUP CREATE", "EVALSHA", "HSET", "HDEL", "HINCRBY", "PUBLISH"}
)
# A statement that writes, by itself or by one of our functions; these only read.
WRITES_OF_SQL = re.compile(
    r"\b(insert into|update|delete from)\s+\w+\.|\b(tickets|orders)\.(?!state|is_free|effective_status|availability)\w+\s*\(",
    re.IGNORECASE,
)
# What uses a script of a writer to read.
READERS = frozenset({"events.stream.last"})
# arq's own keeping of its queue, which it repeats when it starts.
ARQ = frozenset({"workers.main._run_arq"})


def main() -> None:
    points = Points(os.environ)
    wrap(points)
    for name in filter(None, os.environ.get(SABOTAGE, "").split(",")):
        sabotage.FAULTS[name]()
    # What waits for a timer waits a second, not five.
    workers.RECONCILE_SECONDS = frozenset(range(60))
    gittix()


def wrap(points: Points) -> None:
    _wrap_commits(points)
    _wrap_statements(points)
    _wrap_stripe(points)
    _wrap_redis(points)
    _wrap_jobs(points)


def _wrap_commits(points: Points) -> None:
    commit: Method = getattr(Transaction, "_Transaction__commit")  # noqa: B009 - the name is mangled

    async def wrapped(self: Any) -> None:
        who = None if self._nested else caller()
        if who is None:
            await commit(self)
            return
        with points.around(f"commit {who}"):
            await commit(self)

    setattr(Transaction, "_Transaction__commit", wrapped)  # noqa: B010


def _wrap_statements(points: Points) -> None:
    for name in ("_execute", "execute"):
        _wrap_statement(points, name)


def _wrap_statement(points: Points, name: str) -> None:
    run: Method = getattr(asyncpg.Connection, name)

    async def wrapped(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        # `execute` with arguments goes on to `_execute`.
        alone = not self.is_in_transaction() and not (name == "execute" and args)
        who = caller() if alone and WRITES_OF_SQL.search(query) else None
        if who is None:
            return await run(self, query, *args, **kwargs)
        with points.around(f"commit {who}"):
            return await run(self, query, *args, **kwargs)

    setattr(asyncpg.Connection, name, wrapped)


def _wrap_stripe(points: Points) -> None:
    for name in EFFECTS_OF_STRIPE:
        _wrap_call(points, name)


def _wrap_call(points: Points, name: str) -> None:
    call: Method = getattr(Provider, name)

    async def wrapped(self: Any, *args: Any) -> Any:
        points.reach(f"before stripe.{name}")
        try:
            found = await call(self, *args)
        except Declined:
            # The refusal is on Stripe's books.
            points.reach(f"after stripe.{name} declined")
            raise
        points.reach(f"after stripe.{name}")
        return found

    setattr(Provider, name, wrapped)


def _wrap_redis(points: Points) -> None:
    command: Method = Redis.execute_command
    execute: Method = Pipeline.execute

    async def wrapped_command(self: Any, *args: Any, **kwargs: Any) -> Any:
        who = caller() if args[0] in WRITES_OF_REDIS else None
        if who is None or who in READERS | ARQ:
            return await command(self, *args, **kwargs)
        with points.around(f"redis {who}"):
            return await command(self, *args, **kwargs)

    async def wrapped_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        who = caller()
        if who is None or who in ARQ:
            return await execute(self, *args, **kwargs)
        with points.around(f"redis {who}"):
            return await execute(self, *args, **kwargs)

    setattr(Redis, "execute_command", wrapped_command)  # noqa: B010 - mypy takes no assignment to a method
    setattr(Pipeline, "execute", wrapped_execute)  # noqa: B010


def _wrap_jobs(points: Points) -> None:
    finish: Method = arq.Worker.finish_job

    async def wrapped(self: Any, job_id: str, *args: Any, **kwargs: Any) -> None:
        with points.around(f"arq.finish {job_id.rpartition(':')[0]}"):
            await finish(self, job_id, *args, **kwargs)

    setattr(arq.Worker, "finish_job", wrapped)  # noqa: B010


if __name__ == "__main__":
    main()
