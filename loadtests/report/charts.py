"""The charts of a report, as SVG inside its page, with colours from the page's CSS variables."""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import pygal
from pygal.style import Style

from loadtests.figures import during
from loadtests.measurements import Series
from loadtests.push_monitor import END_TO_SCREEN, HOLD_TO_SCREEN, PUSH
from loadtests.runner import RunResult
from loadtests.sampling import Sample

MAX_POINTS = 120
# Seconds between two labels; no chart has more than this many.
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)
MAX_LABELS = 8
COLOURS = ("--first", "--second", "--third", "--fourth")

Points = list[tuple[float, float | None]]

STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--soft)",
    foreground_strong="var(--ink)",
    foreground_subtle="var(--line)",
    opacity="1",
    opacity_hover="1",
    transition="none",
    colors=tuple(f"var({name})" for name in COLOURS),
    font_family="inherit",
    guide_stroke_color="var(--line)",
    guide_stroke_dasharray="2,4",
    major_guide_stroke_color="var(--line)",
    major_guide_stroke_dasharray="2,4",
    legend_font_size=15,
    label_font_size=13,
    major_label_font_size=13,
    title_font_size=17,
    no_data_font_size=15,
)


def charts(result: RunResult) -> list[str]:
    """Return the charts: tickets, CPU, rates of requests and messages, latencies."""
    load_run, samples = (
        result.load_run,
        [sample for sample in result.samples if sample.at >= result.load_run.opened_at],
    )
    seen = during(load_run)
    span = max(load_run.closed_at - load_run.opened_at, 1.0)

    def slices(names: Iterable[str], share: float) -> Mapping[str, Points]:
        return {
            name: _percentiles(seen[name], load_run.opened_at, span, share)
            for name in names
            if name in seen
        }

    def sampled(of: Callable[[Sample], float]) -> Points:
        return [(sample.at - load_run.opened_at, of(sample)) for sample in samples]

    def a_second(count: Callable[[Sample], int]) -> Points:
        return [
            (now.at - load_run.opened_at, (count(now) - count(before)) / (now.at - before.at))
            for before, now in pairwise(samples)
        ]

    return [
        _chart(
            "Tickets",
            {
                "free": sampled(lambda sample: sample.available),
                "held": sampled(lambda sample: sample.held),
                "sold": sampled(lambda sample: sample.sold),
            },
        ),
        _chart(
            "Busy, %",
            {
                "the machine, all cores": sampled(lambda sample: sample.machine_cpu),
                "the generator, of one core": sampled(lambda sample: sample.generator_cpu),
            },
        ),
        _chart("Requests a second", {"requests": a_second(lambda sample: sample.requests)}),
        _chart(
            "Messages to sockets a second", {"messages": a_second(lambda sample: sample.messages)}
        ),
        _chart(
            "Requests, 95th percentile, ms",
            slices(("hold", "pay", "read tickets", "browse shows"), 0.95),
        ),
        _chart(
            "Until it is on a screen, 99th, ms", slices((PUSH, HOLD_TO_SCREEN, END_TO_SCREEN), 0.99)
        ),
    ]


def _chart(title: str, lines: Mapping[str, Points]) -> str:
    chart = pygal.XY(
        title=title,
        style=STYLE,
        # The page loads no script.
        js=[],
        width=640,
        height=340,
        dots_size=1.5,
        allow_interruptions=True,
        truncate_legend=-1,
        stroke_style={"width": 2.5, "linejoin": "round"},
        show_y_guides=True,
        show_x_guides=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=max(1, len(lines)),
        legend_box_size=11,
        margin=12,
        include_x_axis=True,
        explicit_size=False,
        disable_xml_declaration=True,
        no_data_text="nothing of this in the run",
        x_value_formatter=lambda seconds: f"{seconds:,.0f} s",
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.x_labels = _labels(
        max((at for points in lines.values() for at, _ in points), default=1.0)
    )
    for name, points in lines.items():
        chart.add(name, points)
    return str(chart.render(is_unicode=True))


def _labels(seconds: float) -> list[int]:
    step = next((step for step in STEPS if seconds / step <= MAX_LABELS), STEPS[-1])
    return list(range(0, int(seconds) + 1, step))


def _percentiles(series: Series, opened_at: float, span: float, share: float) -> Points:
    """Return a point for each slice of time; empty slices interrupt the line."""
    width = max(1.0, span / MAX_POINTS)
    points: Points = []
    for number in range(int(span / width) + 1):
        part = series.between(opened_at + number * width, opened_at + (number + 1) * width)
        value = part.percentiles(share)[0] if len(part.values) else None
        points.append(((number + 0.5) * width, value))
    return points
