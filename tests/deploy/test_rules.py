"""Each alert fires on its problem and not before, according to Prometheus's `promtool`."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.monitoring.rules import FOLDER, RULES, alerts

PROMTOOL = shutil.which("promtool")


class Case(NamedTuple):
    """Series: normal for ten minutes, then abnormal, when the alert fires with these labels."""

    alert: str
    series: dict[str, tuple[str, str]]
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed


QUIET_STEPS, TROUBLED_STEPS = 60, 150
STEP_SECONDS = 10


CASES = [
    Case(
        "InvariantBroken",
        {'gittix_invariant_breaches{invariant="I1"}': ("0", "2")},
        {"invariant": "I1"},
    ),
    Case("InvariantsNotChecked", {"gittix_check_last_run_timestamp_seconds": ("now", "stopped")}),
    Case(
        "PaymentsStuck",
        {'gittix_backlog_oldest_seconds{of="payments_authorised"}': ("3", "90")},
    ),
    Case("RefundsStuck", {'gittix_backlog_oldest_seconds{of="refunds_requested"}': ("3", "900")}),
    Case("HoldsEndLate", {'gittix_backlog_oldest_seconds{of="holds_overdue"}': ("0.2", "9")}),
    Case(
        "ExpirySlow",
        {
            'gittix_expiry_lateness_seconds_bucket{le="0.5"}': ("+10", "+0"),
            'gittix_expiry_lateness_seconds_bucket{le="5.0"}': ("+10", "+10"),
            'gittix_expiry_lateness_seconds_bucket{le="+Inf"}': ("+10", "+10"),
        },
    ),
    Case("ServiceGone", {'up{service="orders", instance="a"}': ("1", "0")}, {"service": "orders"}),
    Case(
        "ReplicaDown",
        {
            'up{service="orders", instance="a"}': ("1", "0"),
            'up{service="orders", instance="b"}': ("1", "1"),
        },
        {"service": "orders", "instance": "a"},
    ),
    Case("RelayInactive", {'gittix_lease_held{lease="relay"}': ("1", "0")}),
    Case("NotifierInactive", {'gittix_lease_held{lease="notifier"}': ("1", "0")}),
    Case(
        "JobsStopped",
        {'gittix_job_seconds_count{name="expire_due", outcome="done"}': ("+10", "+0")},
        {"name": "expire_due"},
    ),
    Case(
        "JobsFail",
        {'gittix_job_seconds_count{name="handle_webhook", outcome="failed"}': ("+0", "+5")},
        {"name": "handle_webhook"},
    ),
    Case("JobsWait", {'gittix_backlog_oldest_seconds{of="jobs"}': ("0.1", "30")}),
    Case(
        "LoopSilent",
        {'gittix_task_heartbeat_timestamp_seconds{task="relay", instance="a"}': ("now", "stopped")},
        {"task": "relay", "instance": "a"},
    ),
    Case(
        "LoopRestarts",
        {'gittix_task_restarts_total{task="relay"}': ("+0", "+1")},
        {"task": "relay"},
    ),
    Case(
        "ProcessBusy",
        {'process_cpu_seconds_total{service="push", instance="a"}': ("+3", "+9.9")},
        {"service": "push", "instance": "a"},
    ),
    Case("OutboxStuck", {"gittix_outbox_oldest_unpublished_seconds": ("0.01", "20")}),
    Case(
        "ReaderBehind",
        {'gittix_stream_lag_events{reader="notifier"}': ("20", "9000")},
        {"reader": "notifier"},
    ),
    Case(
        "EventsPending",
        {'gittix_stream_pending{consumer="payments"}': ("40", "400")},
        {"consumer": "payments"},
    ),
    Case("DeadLetters", {"gittix_dead_letters": ("0", "1")}),
    Case("StreamRewound", {"gittix_relay_rewinds_total": ("+0", "+1")}),
    Case("WebhooksWait", {'gittix_backlog_oldest_seconds{of="webhooks"}': ("2", "120")}),
    Case("WebhooksGivenUp", {'gittix_backlog{of="webhooks_given_up"}': ("0", "1")}),
    Case(
        "HttpErrors",
        {
            'gittix_http_request_seconds_count{status="200"}': ("+100", "+100"),
            'gittix_http_request_seconds_count{status="503"}': ("+0", "+5"),
        },
    ),
    Case(
        "HttpSlow",
        {
            'gittix_http_request_seconds_bucket{le="0.5"}': ("+10", "+9"),
            'gittix_http_request_seconds_bucket{le="2.5"}': ("+10", "+10"),
            'gittix_http_request_seconds_bucket{le="+Inf"}': ("+10", "+10"),
        },
    ),
    Case(
        "PoolExhausted",
        {
            'gittix_pool_wait_seconds_bucket{pool="gittix-orders", le="0.5"}': ("+100", "+90"),
            'gittix_pool_wait_seconds_count{pool="gittix-orders"}': ("+100", "+100"),
        },
        {"pool": "gittix-orders"},
    ),
    Case(
        "StripeFailing",
        {
            'gittix_stripe_request_seconds_count{outcome="ok"}': ("+10", "+5"),
            'gittix_stripe_request_seconds_count{outcome="unreachable"}': ("+0", "+5"),
        },
    ),
    Case(
        "RedisMemoryHigh",
        {
            "gittix_redis_memory_used_bytes": ("10", "90"),
            "gittix_redis_memory_limit_bytes": ("100", "100"),
        },
    ),
    Case(
        "PublishingLate",
        {
            'gittix_notifier_delay_seconds_bucket{le="0.5"}': ("+10", "+0"),
            'gittix_notifier_delay_seconds_bucket{le="2.5"}': ("+10", "+10"),
            'gittix_notifier_delay_seconds_bucket{le="+Inf"}': ("+10", "+10"),
        },
    ),
    Case(
        "DeliveryLate",
        {
            'gittix_push_lag_seconds_bucket{le="0.5"}': ("+10", "+0"),
            'gittix_push_lag_seconds_bucket{le="2.5"}': ("+10", "+10"),
            'gittix_push_lag_seconds_bucket{le="+Inf"}': ("+10", "+10"),
        },
    ),
    Case(
        "MessagesMissed",
        {'gittix_push_log_gaps_total{instance="a"}': ("+0", "+1")},
        {"instance": "a"},
    ),
    Case("SlowReaders", {'gittix_push_closes_total{reason="reads too slowly"}': ("+1", "+30")}),
    Case(
        "GatewayFull",
        {'gittix_push_closes_total{instance="a", reason="over capacity"}': ("+0", "+1")},
        {"instance": "a"},
    ),
]


@pytest.fixture(scope="module", autouse=True)
def promtool() -> str:
    assert PROMTOOL, "promtool is needed: it comes with Prometheus (Debian: apt install prometheus)"
    return PROMTOOL


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES] == list(alerts())


def test_promtool_accepts_rules_and_configuration(promtool: str, tmp_path: Path) -> None:
    config = (FOLDER / "prometheus.yml").read_text().replace("/etc/prometheus/", f"{FOLDER}/")
    (tmp_path / "prometheus.yml").write_text(config)
    _run(
        promtool, "check", "config", "--lint=all", "--lint-fatal", str(tmp_path / "prometheus.yml")
    )


def test_alerts_fire_on_their_problem_and_not_before(promtool: str, tmp_path: Path) -> None:
    bare = yaml.safe_load(RULES.read_text())
    for group in bare["groups"]:
        for rule in group["rules"]:
            # Otherwise each case would repeat the alert's annotations.
            rule.pop("annotations", None)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(bare))
    cases = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [_described(case) for case in CASES],
    }
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))
    _run(promtool, "test", "rules", str(tmp_path / "cases.yaml"))


def _described(case: Case) -> dict[str, Any]:
    labels = case.labels | {"severity": alerts()[case.alert]["labels"]["severity"]}
    evaluations: list[tuple[int, list[dict[str, Any]]]] = [
        (QUIET_STEPS - 1, []),
        (QUIET_STEPS + TROUBLED_STEPS - 1, [{"exp_labels": labels}]),
    ]
    return {
        "name": case.alert,
        "interval": f"{STEP_SECONDS}s",
        "input_series": [
            {"series": name, "values": _values(*values)} for name, values in case.series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{step * STEP_SECONDS}s",
                "alertname": case.alert,
                "exp_alerts": expected,
            }
            for step, expected in evaluations
        ],
    }


def _values(quiet: str, troubled: str) -> str:
    """The samples of a series: a value, the growth ("+5") of a counter, or a time that stops."""
    if quiet == "now":
        last = (QUIET_STEPS - 1) * STEP_SECONDS
        return f"0+{STEP_SECONDS}x{QUIET_STEPS - 1} {last}x{TROUBLED_STEPS - 1}"
    if quiet.startswith("+"):
        reached = float(quiet) * (QUIET_STEPS - 1)
        return (
            f"0{quiet}x{QUIET_STEPS - 1} {reached + float(troubled)}{troubled}x{TROUBLED_STEPS - 1}"
        )
    return f"{quiet}x{QUIET_STEPS - 1} {troubled}x{TROUBLED_STEPS - 1}"


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
