"""The result of each gate: its bound beside the measured figure."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from loadtests.figures import OF_THE_DATABASE, Figures
from loadtests.scenario import Gates


class Outcome(Enum):
    HELD = "held"
    BROKEN = "broken"
    # Without access to the database.
    UNEXAMINED = "not examined"


ORDER = (Outcome.BROKEN, Outcome.UNEXAMINED, Outcome.HELD)


class GateResult(NamedTuple):
    """The gate holds when `measured sign bound` is true."""

    figure: str
    sign: str
    bound: float
    measured: float | None
    outcome: Outcome

    @property
    def note(self) -> str:
        if self.outcome is Outcome.UNEXAMINED:
            return "not examined"
        if self.measured is None:
            return "never measured"
        if self.outcome is Outcome.HELD:
            return ""
        difference = self.measured - self.bound
        share = f" ({difference / self.bound:+.0%})" if self.bound else ""
        return f"by {difference:+,.5g}{share}"


def evaluate(gates: Gates, figures: Figures) -> list[GateResult]:
    """Return the results, broken gates first.

    A figure that was never measured breaks its gate, except those of an inaccessible database.
    """
    results = [
        GateResult(figure, sign, bound, figures.get(figure), _outcome(figure, sign, bound, figures))
        for figure, sign, bound in _bounds(gates)
    ]
    return sorted(results, key=lambda result: ORDER.index(result.outcome))


def exit_status(results: list[GateResult], *, allow_unexamined: bool) -> int:
    outcomes = {result.outcome for result in results}
    if Outcome.BROKEN in outcomes:
        return 1
    return 2 if Outcome.UNEXAMINED in outcomes and not allow_unexamined else 0


def print_table(console: Console, results: list[GateResult]) -> None:
    table = Table("", "gate", "", "bound", "measured", "off")
    marks = {
        Outcome.HELD: "[green]✓[/]",
        Outcome.BROKEN: "[red]✗[/]",
        Outcome.UNEXAMINED: "[yellow]?[/]",
    }
    for result in results:
        table.add_row(
            marks[result.outcome],
            result.figure,
            result.sign,
            number(result.bound),
            number(result.measured),
            result.note,
        )
    for column in (3, 4):
        table.columns[column].justify = "right"
    console.print(table)


def number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:,.1f}"


def _bounds(gates: Gates) -> Iterator[tuple[str, str, float]]:
    for sign, bounds in (("≤", gates.at_most), ("≥", gates.at_least), ("=", gates.exactly)):
        for figure, bound in bounds.items():
            yield figure, sign, bound


def _outcome(figure: str, sign: str, bound: float, figures: Figures) -> Outcome:
    measured = figures.get(figure)
    if measured is None:
        return Outcome.UNEXAMINED if figure in OF_THE_DATABASE else Outcome.BROKEN
    held = {"≤": measured <= bound, "≥": measured >= bound, "=": measured == bound}[sign]
    return Outcome.HELD if held else Outcome.BROKEN
