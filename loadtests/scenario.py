"""Scenario files: numbers and behaviour of users. Each has a file of gates, for one machine."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from backend.kernel.validation import invalid_input
from loadtests.attacks.catalogue import ATTACKS

FOLDER = Path(__file__).parent / "scenarios"
GATES_SUFFIX = ".gates.toml"

T = TypeVar("T", bound=msgspec.Struct)
Span = tuple[float, float]


class ScenarioError(Exception):
    """A scenario's or gates' file can't be used; the message gives the reason."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Raises an error for an unknown key."""


class Stage(Strict, frozen=True):
    """A number of buyers for a time. Those of the first stage arrive before the opening."""

    seconds: float
    buyers: int
    arrive_per_second: float = 20


class Market(Strict, frozen=True):
    """The shows and tickets on sale at the opening."""

    shows: int
    tickets: int


class Shoppers(Strict, frozen=True):
    """Users that browse, each subscribed to one show over a socket."""

    count: int
    think_seconds: Span = (2, 6)


class Buyers(Strict, frozen=True):
    """`pays` and `cancels` are the shares of holds that are paid and cancelled; the rest expire.

    Each buyer starts within `rush_seconds`. With `again`, a new buyer follows after each purchase.
    `takes` is the maximal number of tickets in an order.
    """

    think_seconds: Span
    pays: float
    cancels: float = 0.0
    pay_seconds: Span = (0.5, 2)
    rush_seconds: float = 0
    again: bool = False
    takes: int = 1
    first_card_declined: float = 0.0


class Sellers(Strict, frozen=True):
    """Owners of the shows, subscribed to their sales. With `think_seconds` they list and edit."""

    count: int
    think_seconds: Span | None = None
    lists: int = 5


class AttackTime(Strict, frozen=True):
    """How long one attack takes."""

    name: str
    seconds: float

    def __post_init__(self) -> None:
        if self.name not in ATTACKS:
            raise ValueError(f"no attack has this name; there are: {', '.join(ATTACKS)}")


class Siege(Strict, frozen=True):
    """Attacks one after the other, after `calm_seconds` without one. Between two attacks is a pause
    in which the target completes the work of the last one.
    """

    attacks: list[AttackTime]
    calm_seconds: float = 0
    pause_seconds: float = 1

    @property
    def seconds(self) -> float:
        return self.calm_seconds + sum(
            attack.seconds + self.pause_seconds for attack in self.attacks
        )

    def scaled(self, share: float) -> "Siege":
        return Siege(
            attacks=[
                AttackTime(name=one.name, seconds=one.seconds * share) for one in self.attacks
            ],
            calm_seconds=self.calm_seconds * share,
            pause_seconds=self.pause_seconds * share,
        )


class Scenario(Strict, frozen=True):
    """`instance` has settings of a new instance; with `until_sold_out` a run may end early."""

    description: str
    stages: list[Stage]
    market: Market
    shoppers: Shoppers
    buyers: Buyers
    sellers: Sellers
    instance: dict[str, str] = {}
    until_sold_out: bool = False
    # Sign up even where sessions could be signed with the instance's key.
    sign_up: bool = False
    # The run ends after the last attack.
    siege: Siege | None = None

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def lasting(self, seconds: float) -> "Scenario":
        """Return this scenario with each stage and attack scaled to this total duration."""
        share = seconds / self.seconds
        stages = [
            msgspec.structs.replace(stage, seconds=stage.seconds * share) for stage in self.stages
        ]
        siege = self.siege.scaled(share) if self.siege else None
        return msgspec.structs.replace(self, stages=stages, siege=siege)


class Gates(Strict, frozen=True):
    """Bounds of figures by name; `because` gives their origin."""

    machine: str
    because: str
    at_most: dict[str, float] = {}
    at_least: dict[str, float] = {}
    exactly: dict[str, float] = {}


def names() -> list[str]:
    return sorted(
        path.stem for path in FOLDER.glob("*.toml") if not path.name.endswith(GATES_SUFFIX)
    )


def scenario(name: str) -> Scenario:
    """Raises ScenarioError."""
    if name not in names():
        raise ScenarioError(f"There is no scenario {name!r}; there are: {', '.join(names())}.")
    return _read(FOLDER / f"{name}.toml", Scenario)


def gates(name: str, path: Path | None = None) -> Gates:
    """Read the gates of the scenario, or those of `path`. Raises ScenarioError."""
    return _read(path or FOLDER / f"{name}{GATES_SUFFIX}", Gates)


def _read(path: Path, shape: type[T]) -> T:
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text())
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        problem = invalid_input(error, shape)
        raise ScenarioError(f"{path} can't be used: {problem.detail}") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path} can't be used: {error}") from error
