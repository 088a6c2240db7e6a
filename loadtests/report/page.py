"""The report as one HTML page: it fetches nothing, and follows the reader's choice of light or dark."""

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from loadtests.report.charts import charts
from loadtests.report.model import Report, rows
from loadtests.verdict import Outcome, number

TONES = {Outcome.HELD.name: "", Outcome.BROKEN.name: "bad", Outcome.UNSEEN.name: "doubt"}
MARKS = {Outcome.HELD.name: "✓", Outcome.BROKEN.name: "✗", Outcome.UNSEEN.name: "?"}
FACTS = ("seconds", "requests", "push messages", "holds won", "sold", "5xx", "push missing")


def page(report: Report) -> str:
    environment = Environment(loader=PackageLoader("loadtests.report", ""), autoescape=True)
    verdict, tone = _verdict(report)
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=verdict,
        tone=tone,
        facts=[(name, number(round(report.figures[name]))) for name in FACTS],
        # Ours, from numbers and fixed names: markup as it is.
        charts=[Markup(chart) for chart in charts(report.played)],  # noqa: S704
        rows=list(rows(report)),
        checked=(report.checked.told or {}).get("invariants"),
        faults=report.played.trial.observed.faults.most_common(20),
        number=number,
        tones=TONES,
        marks=MARKS,
    )


def _verdict(report: Report) -> tuple[str, str]:
    broken = sum(one.outcome is Outcome.BROKEN for one in report.judged)
    unseen = sum(one.outcome is Outcome.UNSEEN for one in report.judged)
    if broken:
        return f"{broken} of {len(report.judged)} gates broken", "bad"
    if unseen:
        return f"nothing broken, {unseen} gates not looked at", "doubt"
    return f"every gate held, {len(report.judged)} in all", "good"
