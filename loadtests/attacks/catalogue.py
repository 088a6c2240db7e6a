"""The attacks by name, and the accounts that each one needs."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from loadtests.attacks import connections, market, requests, sockets
from loadtests.attacks.attacker import Attacker


class Attack(NamedTuple):
    run: Callable[[Attacker], Awaitable[None]]
    accounts: int = 0


ATTACKS = {
    "pongs": Attack(sockets.pongs),
    "fragments": Attack(sockets.fragments),
    "connections": Attack(connections.connections),
    "client events": Attack(sockets.client_events, 1),
    "hoarding": Attack(market.hoarding, market.HOARDERS),
    "listings": Attack(market.listings, market.LISTERS),
    "declines": Attack(market.declines, market.TESTERS),
    "searches": Attack(requests.searches),
    "invented tokens": Attack(requests.invented_tokens),
    "malformed": Attack(requests.malformed),
    "guesses": Attack(requests.guesses, 1),
}
