"""A scenario is a file: who comes, when, and what they want. Its gates are a file beside it, for a class of machine."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

FOLDER = Path(__file__).parent / "scenarios"
GATES_SUFFIX = ".gates.toml"

T = TypeVar("T", bound=msgspec.Struct)
Span = tuple[float, float]


class ScenarioError(Exception):
    """A file can't be used as it is; the message is a sentence."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A misspelt word in a file is a fault, not silence."""


class Stage(Strict, frozen=True):
    """So many buyers are here for so long. Those of the first stage are there before the doors open."""

    seconds: float
    buyers: int
    arrive_per_second: float = 20


class Market(Strict, frozen=True):
    """What is on sale when the doors open."""

    shows: int
    tickets: int


class Shoppers(Strict, frozen=True):
    """They look around, and each watches a show over a socket."""

    count: int
    think_seconds: Span = (2, 6)


class Buyers(Strict, frozen=True):
    """Of the holds that they win, `pays` are paid and `cancels` given up; the rest are left to their end.

    `rush_seconds`: who is there when the doors open starts within these, and who comes later as well. `again`: after a purchase the next person comes in the
    same place; else one ticket is enough. `takes`: tickets in a cart, at the most.
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
    """They own the shows, hear of their sales over a private channel, and with `think_seconds` list and edit as well."""

    count: int
    think_seconds: Span | None = None
    lists: int = 5


class Scenario(Strict, frozen=True):
    """`instance`: settings of an instance that is started for the run. `until_sold_out` ends it before its time."""

    says: str
    stages: list[Stage]
    market: Market
    shoppers: Shoppers
    buyers: Buyers
    sellers: Sellers
    instance: dict[str, str] = {}
    until_sold_out: bool = False
    # Sessions are signed with the instance's key where that is known, since 2,000 sign-ups are a load of their own.
    sign_up: bool = False

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def lasting(self, seconds: float) -> "Scenario":
        """The same, with every stage shorter or longer in proportion."""
        share = seconds / self.seconds
        stages = [
            msgspec.structs.replace(stage, seconds=stage.seconds * share) for stage in self.stages
        ]
        return msgspec.structs.replace(self, stages=stages)


class Gates(Strict, frozen=True):
    """Bounds of figures, by the figure's name. `because` says where they come from."""

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
    """Those beside the scenario, or those of another file. Raises ScenarioError."""
    return _read(path or FOLDER / f"{name}{GATES_SUFFIX}", Gates)


def _read(path: Path, shape: type[T]) -> T:
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text())
        return msgspec.convert(found, shape)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise ScenarioError(f"{path} can't be used: {fault}") from fault
