"""One process returns the merged readiness and metrics of several processes."""

from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from backend.kernel import health
from backend.kernel.health import NotReady
from backend.kernel.peer_processes import PeerProcesses, merged, parse_peers
from backend.kernel.settings import Settings
from backend.kernel.supervisor import heartbeat
from loadtests.ports import free_port

RELAY = """\
# HELP gittix_age_seconds Age
# TYPE gittix_age_seconds gauge
gittix_age_seconds 1.5
# HELP gittix_events_total Events, of a kind
# TYPE gittix_events_total counter
gittix_events_total{type="a b{c}"} 3.0
"""
WORKER = """\
# HELP gittix_events_total Events, of a kind
# TYPE gittix_events_total counter
gittix_events_total{type="x"} 4.0
# HELP gittix_age_seconds Age
# TYPE gittix_age_seconds gauge
gittix_age_seconds NaN
"""


def test_a_merged_metric_stands_once_and_each_sample_has_its_process() -> None:
    text = merged({"relay": RELAY, "worker": WORKER})
    assert (
        text
        == """\
# HELP gittix_age_seconds Age
# TYPE gittix_age_seconds gauge
gittix_age_seconds{process="relay"} 1.5
gittix_age_seconds{process="worker"} NaN
# HELP gittix_events_total Events, of a kind
# TYPE gittix_events_total counter
gittix_events_total{process="relay",type="a b{c}"} 3.0
gittix_events_total{process="worker",type="x"} 4.0
"""
    )
    assert [family.name for family in text_string_to_metric_families(text)] == [
        "gittix_age_seconds",
        "gittix_events",
    ]


def test_peers_are_parsed_from_lines_of_name_and_address() -> None:
    assert parse_peers("api", "") is None
    parsed = parse_peers("api", "relay=/a folder/relay.sock\npush=http://127.0.0.1:8001")
    assert parsed == PeerProcesses(
        "api", {"relay": "/a folder/relay.sock", "push": "http://127.0.0.1:8001"}
    )


async def test_readiness_and_metrics_of_all_peers_are_merged(tmp_path: Path) -> None:
    async def behind() -> None:
        raise NotReady("far behind")

    async def fine() -> None: ...

    heartbeat("a task of all")
    socket, port = str(tmp_path / "relay.sock"), free_port()
    peers = PeerProcesses(
        "api",
        {"relay": socket, "push": f"http://127.0.0.1:{port}", "gone": str(tmp_path / "none.sock")},
    )
    async with (
        AsyncExitStack() as stack,
        health.served(Settings(ops_host=socket)) as relay,
        health.served(Settings(ops_port=port)) as push,
    ):
        stack.enter_context(relay.checking({"stream": behind}))
        stack.enter_context(push.checking({"redis": fine}))
        assert await peers.readiness() == (
            False,
            {"relay.stream": "far behind", "push.redis": "ok", "gone": "does not answer"},
        )
        assert (await PeerProcesses("api", {"push": f"http://127.0.0.1:{port}"}).readiness())[0]
        shown = (await peers.metrics()).decode()
    for process in ("api", "relay", "push"):
        assert (
            f'gittix_task_heartbeat_timestamp_seconds{{process="{process}",task="a task of all"}}'
            in shown
        )
    assert 'gittix_process_up{process="api",name="relay"} 1.0' in shown
    assert 'gittix_process_up{process="api",name="gone"} 0.0' in shown
    assert shown.count("# TYPE gittix_process_up gauge") == 1
