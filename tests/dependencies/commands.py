"""The locks, and the programs of .venv that read them."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# The packages of the shop's pages, which browsers receive, and of tools.
PAGES = ROOT / "frontend" / "reflex.lock"
NPM_LOCKS = (
    PAGES,
    ROOT / "frontend",
    ROOT / "tests" / "push" / "node",
    ROOT / "tests" / "shop" / "node",
    ROOT / "tests" / "k8s" / "tools",
)


def uv(*arguments: str) -> list[str]:
    return [str(BIN / "uv"), *arguments, "--project", str(ROOT)]


def npm(folder: Path, *arguments: str) -> list[str]:
    return [str(BIN / "npm"), "--prefix", str(folder), "--no-update-notifier", *arguments]


def environment() -> dict[str, str]:
    """The environment of both: npm finds its node on PATH."""
    return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
