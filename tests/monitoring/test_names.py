"""Rules, dashboard and runbook use existing metrics: a renamed metric would silence an alert."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

import backend
import workers
from backend.check.watch import Gauges
from tests.monitoring.rules import DASHBOARD, RULES, alerts, kebab, rules

RUNBOOK = Path(__file__).parents[2] / "docs/operating.md"
OURS = re.compile(r"\bgittix_[a-z_]+")
# In text a metric is inline code; a volume with the prefix is an argument of a command.
NAMED = re.compile(r"(?<=[`(])gittix_[a-z_]+")
RECORDED = re.compile(r"\bgittix:[a-z0-9_:]+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


@pytest.fixture(scope="module")
def metrics() -> dict[str, frozenset[str]]:
    """The metrics of GitTix, with the names of their samples."""
    for package in (backend, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return {
        name: samples
        for registry in (REGISTRY, Gauges().registry)
        for name, samples in _shown(registry)
    }


def _shown(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    for metric in registry.collect():
        if metric.name.startswith("gittix_"):
            suffixes = SUFFIXES.get(metric.type, ("",))
            yield metric.name, frozenset(metric.name + suffix for suffix in suffixes)


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_every_queried_sample_exists(file: Path, metrics: dict[str, frozenset[str]]) -> None:
    asked = set(OURS.findall(file.read_text()))
    assert len(asked) > 10
    assert asked - frozenset().union(*metrics.values()) == set()


def test_the_runbook_explains_every_metric_and_no_other(metrics: dict[str, frozenset[str]]) -> None:
    explained = {
        name.removesuffix("_total").removesuffix("_count")
        for name in NAMED.findall(RUNBOOK.read_text())
    }
    assert explained == metrics.keys()


def test_the_dashboard_reads_rules_that_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = set(RECORDED.findall(DASHBOARD.read_text())) | set(RECORDED.findall(RULES.read_text()))
    assert named == recorded


def test_every_alert_has_a_severity_a_summary_and_a_section_of_the_runbook() -> None:
    headings = {_anchor(line) for line in RUNBOOK.read_text().splitlines() if line.startswith("#")}
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"page", "ticket"}, name
        assert alert["annotations"]["summary"].endswith("."), name
        assert alert["annotations"]["runbook"] == f"docs/operating.md#{kebab(name)}", name
        assert kebab(name) in headings, f"docs/operating.md has no section for {name}"


def test_the_dashboard_loads_nothing_from_elsewhere() -> None:
    page = DASHBOARD.read_text()
    assert not re.search(r"(?:src|href)\s*=(?!\"data:,\")|@import|url\(|https?://", page)
    # Prometheus parses the page as a template.
    assert "{{" not in page


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", heading.lstrip("#").strip().lower().replace(" ", "-"))
