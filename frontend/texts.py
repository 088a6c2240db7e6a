"""The texts of the pages that Reflex composes. They are in a message file beside those of the
sources, which `shared/texts.ts` reads.
"""

import json
from pathlib import Path

_FILE = Path(__file__).parent / "assets" / "src" / "texts" / "en" / "pages.json"
_TEXTS: dict[str, str] = json.loads(_FILE.read_text("utf-8"))  # noqa: TID251 - our own


def text(name: str) -> str:
    """Raises KeyError for a name that the file lacks."""
    return _TEXTS[name]
