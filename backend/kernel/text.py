"""Normalizes text from forms: trimmed, on one line, visible, and in one alphabet a word.

One rule for every text that other people see, such as titles, venues and seats. Its alphabets are
those that Unicode's names of letters begin with.
"""

import re
import unicodedata

from backend.kernel.problems import invalid

# Letters, numbers, symbols and punctuation.
VISIBLE = frozenset("LNSP")
UNSHOWABLE = frozenset({"Cc", "Cs", "Co", "Cn"})
# Bidirectional overrides display a text in another order than it is stored.
OVERRIDES = frozenset({"LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI"})
# They have no shape and no use in one line, but come with copied text: soft hyphen, zero-width
# space, direction marks, word joiner, byte order mark, fillers of Hangul and Mongolian, the empty
# Braille pattern, and the tags of U+E0000. Joiners and variation selectors shape the characters
# beside them, so they stay.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2060-\u2064\u2800\u3164\ufeff\uffa0"
    "\U000e0000-\U000e007f]"
)
# Some of their letters have the same shapes, so that a word of two of them imitates another word.
ALPHABETS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def clean(field: str, text: str) -> str:
    """The text without invisible characters and surrounding or repeated spaces.

    Raises Invalid for a text that shows nothing, has control characters, or mixes alphabets in a
    word.
    """
    tidy = " ".join(INVISIBLE.sub("", text).split())
    if any(
        unicodedata.category(c) in UNSHOWABLE or unicodedata.bidirectional(c) in OVERRIDES
        for c in tidy
    ):
        raise invalid(field, "must not contain control characters")
    if not any(unicodedata.category(c)[0] in VISIBLE for c in tidy):
        raise invalid(field, "must not be empty")
    if any(len(_alphabets(word)) > 1 for word in re.split(r"[\W\d_]+", tidy)):
        raise invalid(field, "must not mix letters of different alphabets in one word")
    return tidy


def clean_optional(field: str, text: str | None) -> str | None:
    """Like `clean`, but returns None for an empty text."""
    return clean(field, text) if text and INVISIBLE.sub("", text).strip() else None


def _alphabets(word: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in word} & ALPHABETS
