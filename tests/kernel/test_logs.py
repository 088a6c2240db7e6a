"""Log lines: JSON, with the name of the service, without secrets, from any library."""

import json
import subprocess
import sys
from typing import Any

PROCESS = """
import logging
import structlog
from uuid import UUID
from backend.kernel import correlation, logs

logs.configure(level="info", style="json", service="gittix-tests")
log = structlog.get_logger()
log.debug("too quiet")
with correlation.bound(UUID(int=7)):
    log.info("connected", pusher_secret="s3cret", url="postgresql://gittix_orders:s3cret@db/gittix")
    logging.getLogger("arq").warning("could not reach %s", "redis://:s3cret@cache:6379/0")
try:
    raise ConnectionError("postgresql://owner:s3cret@db/gittix refused")
except ConnectionError:
    log.exception("unexpected")
    logging.getLogger("asyncio").exception("unexpected")
"""


def written() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_each_line_has_its_service_and_correlation_id() -> None:
    lines = written()
    assert [line["event"] for line in lines[:2]] == [
        "connected",
        "could not reach redis://:***@cache:6379/0",
    ]
    assert {line["service"] for line in lines} == {"gittix-tests"}
    assert all(line["version"] and line["timestamp"] and line["level"] for line in lines)
    assert [line.get("correlation_id", "")[-1:] for line in lines] == ["7", "7", "", ""]


def test_secrets_and_url_passwords_are_masked() -> None:
    lines = written()
    assert len(lines) == 4
    assert "s3cret" not in json.dumps(lines)
    assert lines[0]["url"] == "postgresql://gittix_orders:***@db/gittix"
    assert "postgresql://owner:***@db/gittix refused" in lines[2]["exception"]
