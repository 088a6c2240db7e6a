"""Normalizes text from forms: trimmed, on one line, without control characters."""

import unicodedata

from backend.kernel.problems import invalid

UNSHOWABLE = frozenset({"Cc", "Cs", "Co", "Cn"})
# Bidirectional overrides display a text in another order than it is stored.
OVERRIDES = frozenset({"LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI"})


def clean(field: str, text: str) -> str:
    """The text without surrounding or repeated spaces. Raises Invalid for an empty or unprintable
    text.
    """
    tidy = " ".join(text.split())
    if not tidy:
        raise invalid(field, "must not be empty")
    if any(
        unicodedata.category(c) in UNSHOWABLE or unicodedata.bidirectional(c) in OVERRIDES
        for c in tidy
    ):
        raise invalid(field, "must not contain control characters")
    return tidy


def clean_optional(field: str, text: str | None) -> str | None:
    """Like `clean`, but returns None for an empty text."""
    return clean(field, text) if text and text.strip() else None
