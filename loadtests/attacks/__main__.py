"""The process of the attackers: `python -m loadtests.attacks`, controlled by lines of JSON.

The first line has the site and the names of the attacks; the reply is a line when their accounts
exist. Each further line starts an attack, which ends by itself; its reply is a line with the
outcomes. The process exits when its input ends, so it never survives the load test.
"""

import asyncio
import resource
import sys
import traceback
from typing import Any

import msgspec
import uvloop

from loadtests.attacks.attacker import Account, Attacker, Site, sign_up
from loadtests.attacks.catalogue import ATTACKS
from loadtests.attacks.control import Begin, Outcome, Prepare

# Beyond the time of an attack, for its last replies.
GRACE_SECONDS = 10.0
ACCOUNTS_ADDRESS = 1


async def main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    prepare = msgspec.json.decode(await reader.readline(), type=Prepare)
    accounts = await _accounts(prepare)
    _write({"ready": True})
    while line := await reader.readline():
        begin = msgspec.json.decode(line, type=Begin)
        _write(await _attack(prepare.site, begin, accounts.get(begin.attack, [])))


async def _accounts(prepare: Prepare) -> dict[str, list[Account]]:
    attacker = Attacker(prepare.site, [], 0)
    try:
        return {
            name: await sign_up(attacker, ATTACKS[name].accounts, ACCOUNTS_ADDRESS)
            for name in prepare.attacks
        }
    finally:
        attacker.close()


async def _attack(site: Site, begin: Begin, accounts: list[Account]) -> Outcome:
    attacker, before = Attacker(site, accounts, begin.seconds), _cpu_seconds()
    fault = ""
    try:
        async with asyncio.timeout(begin.seconds + GRACE_SECONDS):
            await ATTACKS[begin.attack].run(attacker)
    except Exception:
        fault = traceback.format_exc(limit=-3)
    finally:
        attacker.close()
    return Outcome(dict(attacker.outcomes), _cpu_seconds() - before, fault)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _write(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
