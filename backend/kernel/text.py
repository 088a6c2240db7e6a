"""What people type: trimmed, on one line, without control characters."""

import unicodedata

from backend.kernel.problems import invalid


def clean(field: str, text: str) -> str:
    """The text without surrounding or repeated spaces. Raises Invalid when nothing is left or it can't be shown."""
    tidy = " ".join(text.split())
    if not tidy:
        raise invalid(field, "must not be empty")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} for character in tidy):
        raise invalid(field, "must not contain control characters")
    return tidy


def clean_optional(field: str, text: str | None) -> str | None:
    """Like `clean`; an empty text is no text."""
    return clean(field, text) if text and text.strip() else None
