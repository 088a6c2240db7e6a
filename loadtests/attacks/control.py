"""The lines between a load run and the process of its attackers."""

import msgspec

from loadtests.attacks.attacker import Site


class Prepare(msgspec.Struct, frozen=True):
    site: Site
    attacks: list[str]


class Begin(msgspec.Struct, frozen=True):
    attack: str
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """The count of each outcome of an attack, its CPU time, and the error that ended it, if any."""

    outcomes: dict[str, int]
    cpu_seconds: float
    fault: str
