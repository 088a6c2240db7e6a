"""Whether a run passes: each gate beside what was measured."""

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
    # Nobody could look, so nobody knows.
    UNSEEN = "not looked at"


FIRST = (Outcome.BROKEN, Outcome.UNSEEN, Outcome.HELD)


class Judged(NamedTuple):
    """`sign` is how the figure stands to the bound when the gate holds."""

    figure: str
    sign: str
    bound: float
    measured: float | None
    outcome: Outcome

    @property
    def says(self) -> str:
        if self.outcome is Outcome.UNSEEN:
            return "not looked at"
        if self.measured is None:
            return "never measured"
        if self.outcome is Outcome.HELD:
            return ""
        difference = self.measured - self.bound
        share = f" ({difference / self.bound:+.0%})" if self.bound else ""
        return f"by {difference:+,.5g}{share}"


def judge(gates: Gates, figures: Figures) -> list[Judged]:
    """What is broken comes first. A figure that was never measured breaks its gate; one of the database that nobody could
    look at is told apart.
    """
    judged = [
        Judged(figure, sign, bound, figures.get(figure), _outcome(figure, sign, bound, figures))
        for figure, sign, bound in _bounds(gates)
    ]
    return sorted(judged, key=lambda one: FIRST.index(one.outcome))


def exit_status(judged: list[Judged], *, unseen_is_fine: bool) -> int:
    outcomes = {one.outcome for one in judged}
    if Outcome.BROKEN in outcomes:
        return 1
    return 2 if Outcome.UNSEEN in outcomes and not unseen_is_fine else 0


def show(console: Console, judged: list[Judged]) -> None:
    table = Table("", "gate", "", "bound", "measured", "off")
    marks = {
        Outcome.HELD: "[green]✓[/]",
        Outcome.BROKEN: "[red]✗[/]",
        Outcome.UNSEEN: "[yellow]?[/]",
    }
    for one in judged:
        table.add_row(
            marks[one.outcome],
            one.figure,
            one.sign,
            number(one.bound),
            number(one.measured),
            one.says,
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
        return Outcome.UNSEEN if figure in OF_THE_DATABASE else Outcome.BROKEN
    held = {"≤": measured <= bound, "≥": measured >= bound, "=": measured == bound}[sign]
    return Outcome.HELD if held else Outcome.BROKEN
