"""Attacks by anonymous requests: searches, invented tokens, malformed input, guessed passwords."""

import asyncio
import random
from urllib.parse import urlencode
from uuid import uuid4

from loadtests.attacks.attacker import Attacker
from loadtests.attacks.sockets import malformed_frames

SEARCHES_PER_SECOND = 20
# No ticket has the first ones; the others are in all of the honest sellers' tickets.
WORDS = ("zzyzx", "q'x", "100%", "ü", "load", "f", "floor 1")
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"status": "sold", "sort": "-price"},
    {"status": "available", "min_price": "999999", "sort": "price"},
    {"max_price": "1", "sort": "oldest"},
    {"currency": "JPY"},
    {"min_price": "1", "max_price": "4500", "status": "withdrawn", "currency": "USD"},
)
WRITES_PER_SECOND = 150
MALFORMED_PER_SECOND = 40
DEEP = 20_000
# Each second: at one account, and at as many accounts as guesses.
GUESSES_AT_ONE, GUESSES_AT_MANY = 60, 20


async def searches(attacker: Attacker) -> None:
    """Searches for rare and frequent words, with every public filter, from four addresses."""

    async def one(number: int) -> None:
        word = random.choice(WORDS) + (f" {uuid4().hex[:6]}" if number % 3 == 0 else "")
        query = random.choice(FILTERS) | {"q": word, "limit": "100"}
        if number % 5 == 0:
            query = {"q": word, "city": "Ghent", "category": "none", "sort": "-starts_at"}
        kind = "shows" if number % 5 == 0 else "tickets"
        path = f"/api/{kind}?{urlencode(query)}"
        await attacker.send("GET", path, address=60 + number % 4)

    await attacker.at_rate(SEARCHES_PER_SECOND, one)


async def invented_tokens(attacker: Attacker) -> None:
    """Writes with a new token each, in several spellings, from one address."""

    async def one(number: int) -> None:
        spelling = ("Bearer {}", "Bearer  {}", "bearer {}", "Basic {}")[number % 4]
        await attacker.send(
            "POST",
            "/api/orders",
            {"ticket_ids": [str(uuid4())]},
            address=70,
            headers={"Authorization": spelling.format(uuid4().hex)},
        )

    await attacker.at_rate(WRITES_PER_SECOND, one)


async def malformed(attacker: Attacker) -> None:
    """Nested and broken JSON, too many parameters, and frames that no client sends."""
    many = urlencode([(f"p{number}", "x") for number in range(200)])
    bodies = (
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP,
        b'{"email":"\xff"}',
        b"\x00",
        b'"\\ud800"',
    )
    paths = ("/api/users/signin", "/api/orders", "/api/payments/webhook")

    async def one(number: int) -> None:
        if number % 3 == 0:
            await attacker.send("GET", f"/api/tickets?{many}", address=80)
            return
        body, path = bodies[number % len(bodies)], paths[number % len(paths)]
        await attacker.send("POST", path, body, address=80)

    await asyncio.gather(attacker.at_rate(MALFORMED_PER_SECOND, one), malformed_frames(attacker))


async def guesses(attacker: Attacker) -> None:
    """Each second, parallel guesses at one account and at many, from one address."""
    [known] = attacker.accounts

    async def one(number: int) -> None:
        at_one = number < GUESSES_AT_ONE
        email = known.email if at_one else f"{uuid4().hex}@siege.example"
        body = {"email": email, "password": uuid4().hex}
        await attacker.send("POST", "/api/users/signin", body, address=90)

    async def together(_second: int) -> None:
        await asyncio.gather(*(one(number) for number in range(GUESSES_AT_ONE + GUESSES_AT_MANY)))

    await attacker.at_rate(1, together)
