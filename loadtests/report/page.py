"""The report as one HTML page, without other files, for light and dark colour schemes."""

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from loadtests.gate_results import Outcome, number
from loadtests.report.charts import charts
from loadtests.report.model import Report, rows

TONES = {Outcome.HELD.name: "", Outcome.BROKEN.name: "bad", Outcome.UNEXAMINED.name: "doubt"}
MARKS = {Outcome.HELD.name: "✓", Outcome.BROKEN.name: "✗", Outcome.UNEXAMINED.name: "?"}
FACTS = ("seconds", "requests", "push messages", "holds won", "sold", "5xx", "push missing")


def page(report: Report) -> str:
    environment = Environment(loader=PackageLoader("loadtests.report", ""), autoescape=True)
    verdict, tone = _verdict(report)
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=verdict,
        tone=tone,
        facts=[(name, number(round(report.figures[name]))) for name in FACTS],
        # Our own markup, from numbers and fixed names.
        charts=[Markup(chart) for chart in charts(report.result)],  # noqa: S704
        rows=list(rows(report)),
        checked=(report.checked.report or {}).get("invariants"),
        errors=report.result.load_run.measurements.errors.most_common(20),
        number=number,
        tones=TONES,
        marks=MARKS,
    )


def _verdict(report: Report) -> tuple[str, str]:
    broken = sum(result.outcome is Outcome.BROKEN for result in report.results)
    unseen = sum(result.outcome is Outcome.UNEXAMINED for result in report.results)
    if broken:
        return f"{broken} of {len(report.results)} gates broken", "bad"
    if unseen:
        return f"nothing broken, {unseen} gates not examined", "doubt"
    return f"every gate held, {len(report.results)} in all", "good"
