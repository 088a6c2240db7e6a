"""Writes the SBOM: the packages of the images and of the shop's pages, as CycloneDX 1.5 in JSON.

`python -m tests.dependencies.sbom [FILE]` reads only the locks, so it needs no network. uv renders
its lock. The lock of the pages is rendered here, since `npm sbom` refuses it: its packages disagree
about their peers.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.dependencies import commands

FILE = commands.ROOT / ".cache" / "sbom" / "gittix.cdx.json"
SECONDS = 60

Json = dict[str, Any]


def main() -> int:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    document = bill_of_materials()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(document['components'])} packages in {file}")
    return 0


def bill_of_materials() -> Json:
    """One document about the project, with the Python packages of the images and the pages'."""
    # As in the images.
    groups = ("--no-dev", "--extra", "tracing")
    command = commands.uv("export", "--frozen", "--quiet", "--format", "cyclonedx1.5", *groups)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"uv could not export its lock: {done.stderr.strip()}")
    document: Json = json.loads(done.stdout)
    lock = json.loads((commands.PAGES / "package-lock.json").read_text())
    document["components"] += _npm_components(lock)
    return document


def _npm_components(lock: Json) -> Iterator[Json]:
    """The packages of an npm lock. One that only builds the pages has the scope `excluded`."""
    for path, package in lock["packages"].items():
        if not path:
            continue
        name = path.rpartition("node_modules/")[2]
        purl = f"pkg:npm/{quote(name, safe='/')}@{package['version']}"
        algorithm, _, digest = package["integrity"].partition("-")
        yield {
            "type": "library",
            # A package may be there twice, in one version, below two others.
            "bom-ref": f"{purl}#{path}",
            "name": name,
            "version": package["version"],
            "purl": purl,
            "scope": "excluded" if package.get("dev") else "required",
            "hashes": [
                {
                    "alg": algorithm.upper().replace("SHA", "SHA-"),
                    "content": base64.b64decode(digest).hex(),
                }
            ],
        }


if __name__ == "__main__":
    sys.exit(main())
