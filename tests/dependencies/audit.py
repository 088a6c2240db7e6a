"""Searches the locked packages for known vulnerabilities: `python -m tests.dependencies.audit`.

uv asks OSV about the Python packages, npm asks its registry about each of our locks, all at the
same time. The exit status is 1 when a package has a known vulnerability. A service that does not
answer within `SECONDS` is named in a sentence and changes nothing, since CI must not depend on it.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import NamedTuple

from tests.dependencies import commands

SECONDS = 12.0
# uv's exit statuses.
CLEAN, VULNERABLE, FAILED = 0, 1, 2
UNREACHABLE = ("error sending request", "HTTP status server error", "operation timed out")


class AuditError(Exception):
    """A program could not audit its lock for another reason than its service."""


class Audit(NamedTuple):
    """The result for one lock. `vulnerable` is None when the service did not answer."""

    name: str
    vulnerable: bool | None
    report: str


def main() -> int:
    try:
        return report(asyncio.run(audit_all()))
    except AuditError as error:
        print(f"audit: {error}")
        return 1


async def audit_all(*, osv: str = "", registry: str = "") -> list[Audit]:
    """Audit every lock. `osv` and `registry` are other URLs of the two services."""
    return list(
        await asyncio.gather(
            audit_python(osv), *(audit_npm(folder, registry) for folder in commands.NPM_LOCKS)
        )
    )


def report(audits: list[Audit]) -> int:
    """Print one line for each lock. Returns the exit status."""
    for audit in audits:
        if audit.vulnerable is None:
            print(f"audit: {audit.name} was not audited: the service did not answer")
        elif audit.vulnerable:
            print(f"audit: {audit.name} has packages with known vulnerabilities:\n{audit.report}")
        else:
            print(f"audit: {audit.name} has no package with a known vulnerability")
    return 1 if any(audit.vulnerable for audit in audits) else 0


async def audit_python(osv: str = "") -> Audit:
    """Audit uv.lock. Raises AuditError."""
    service = ("--service-url", osv) if osv else ()
    command = commands.uv("audit", "--frozen", "--preview-features", "audit-command", *service)
    found = await _run(command)
    if found is None:
        return Audit("uv.lock", None, "")
    status, output, errors = found
    if status == FAILED and any(sign in errors for sign in UNREACHABLE):
        return Audit("uv.lock", None, errors)
    if status not in {CLEAN, VULNERABLE}:
        raise AuditError(f"uv could not audit its lock: {errors}")
    return Audit("uv.lock", status == VULNERABLE, output)


async def audit_npm(folder: Path, registry: str = "") -> Audit:
    """Audit the npm lock in this folder. Raises AuditError."""
    name = str((folder / "package-lock.json").relative_to(commands.ROOT))
    options = ("--registry", registry) if registry else ()
    command = commands.npm(
        folder, "audit", "--package-lock-only", "--json", "--fetch-retries=0", *options
    )
    found = await _run(command)
    if found is None:
        return Audit(name, None, "")
    _, output, errors = found
    try:
        answer = json.loads(output)
    except ValueError as error:
        raise AuditError(f"npm could not audit {name}: {errors}") from error
    if "vulnerabilities" not in answer:
        # npm gives the reason of a failed request only.
        if not answer.get("message"):
            raise AuditError(f"npm could not audit {name}: {output} {errors}")
        return Audit(name, None, answer["message"])
    lines = [
        f"  {package}: {each['severity']}" for package, each in answer["vulnerabilities"].items()
    ]
    return Audit(name, bool(lines), "\n".join(lines))


async def _run(command: list[str]) -> tuple[int, str, str] | None:
    """Run a command. Returns its status, output and errors, or None when it took too long."""
    environment = commands.environment() | {"UV_HTTP_RETRIES": "0", "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


if __name__ == "__main__":
    sys.exit(main())
