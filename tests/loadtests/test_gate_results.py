from loadtests import scenario as scenarios
from loadtests.figures import BROKEN
from loadtests.gate_results import Outcome, evaluate, exit_status
from loadtests.scenario import Gates

GATES = Gates(
    machine="a test",
    because="it is one",
    at_most={"hold p95 ms": 100, BROKEN: 0},
    at_least={"holds won": 5},
    exactly={"sold": 200},
)
FINE = {"hold p95 ms": 100.0, BROKEN: 0.0, "holds won": 5.0, "sold": 200.0}


def outcomes(**changed: float | None) -> dict[str, Outcome]:
    figures = {name: value for name, value in (FINE | changed).items() if value is not None}
    return {one.figure: one.outcome for one in evaluate(GATES, figures)}


def test_a_bound_that_is_met_exactly_holds() -> None:
    assert set(outcomes().values()) == {Outcome.HELD}
    assert exit_status(evaluate(GATES, FINE), allow_unexamined=False) == 0


def test_each_kind_of_bound_breaks() -> None:
    for figure, value in (
        ("hold p95 ms", 100.1),
        (BROKEN, 1.0),
        ("holds won", 4.0),
        ("sold", 201.0),
        ("sold", 199.0),
    ):
        found = outcomes(**{figure: value})
        assert [name for name, outcome in found.items() if outcome is Outcome.BROKEN] == [figure]


def test_a_breach_is_reported_with_its_size() -> None:
    [slow] = [
        one
        for one in evaluate(GATES, FINE | {"hold p95 ms": 150.0})
        if one.outcome is Outcome.BROKEN
    ]
    assert slow.note == "by +50 (+50%)"


def test_a_figure_that_was_never_measured_is_a_breach() -> None:
    assert outcomes(**{"hold p95 ms": None})["hold p95 ms"] is Outcome.BROKEN


def test_a_figure_of_an_unknown_database_is_neither_held_nor_broken() -> None:
    unseen = evaluate(GATES, {name: value for name, value in FINE.items() if name != BROKEN})
    assert exit_status(unseen, allow_unexamined=False) == 2
    assert exit_status(unseen, allow_unexamined=True) == 0


def test_every_scenario_has_gates_for_losses_and_errors() -> None:
    never = {
        "5xx",
        "connection errors",
        "push missing",
        "pages behind",
        "sales missing",
        "sold twice",
        BROKEN,
    }
    for name in scenarios.names():
        assert scenarios.scenario(name).stages
        bounds = scenarios.gates(name)
        assert never <= bounds.at_most.keys(), name
        assert all(bounds.at_most[figure] == 0 for figure in never), name
        assert {
            "push p95 ms",
            "push p99 ms",
            "hold p95 ms",
            "hold p99 ms",
        } <= bounds.at_most.keys() or name.endswith("smoke")
