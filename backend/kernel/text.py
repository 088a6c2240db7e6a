"""Normalizes text from forms: trimmed, on one line, composed (NFC), visible, and in one alphabet a
word.

One rule for every text that other people see, such as titles, venues and seats. Its alphabets are
those that Unicode's names of letters begin with. A character that is newer than Python's tables is
accepted, since it is most likely an emoji.
"""

import re
import unicodedata

from backend.kernel.problems import invalid

# Letters, numbers, symbols and punctuation.
VISIBLE = frozenset("LNSP")
UNASSIGNED = "Cn"
UNSHOWABLE = frozenset({"Cc", "Cs", "Co"})
# Code points that are never assigned to a character.
NONCHARACTERS = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
# Bidirectional overrides display a text in another order than it is stored.
OVERRIDES = frozenset({"LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI"})
# They have no shape and no use in one line, but come with copied text: soft hyphen, zero-width
# space, direction marks, word joiner, byte order mark, fillers of Hangul and Mongolian, the empty
# Braille pattern, a null note, the object replacement, and the other code points that Unicode
# calls default ignorable. Those that shape the characters beside them are not listed.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2060-\u2065\u206a-\u206f"
    "\u2800\u3164\ufeff\uffa0\ufff0-\ufffc\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]"
)
# Tags spell the region of a flag after the black flag. Elsewhere they are invisible text.
FLAG_OR_TAGS = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f)"
    "|[\U000e0020-\U000e007f]"
)
# Joiners and variation selectors shape letters of scripts such as Persian and Sinhala, and emoji.
JOINERS = "\u200c\u200d"
SHAPERS = re.compile(f"[{JOINERS}\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
KEYCAPS = frozenset("0123456789#*")
# Some of their letters have the same shapes, so that a word of two of them imitates another word.
ALPHABETS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def clean(field: str, text: str) -> str:
    """The text without invisible characters and surrounding or repeated spaces.

    Raises Invalid for a text that shows nothing, has control characters, or mixes alphabets in a
    word.
    """
    tidy = unicodedata.normalize("NFC", " ".join(_visible(text).split()))
    if not tidy.isascii():
        tidy = SHAPERS.sub(_shaping, tidy)
    if NONCHARACTERS.search(tidy) or any(
        unicodedata.category(c) in UNSHOWABLE or unicodedata.bidirectional(c) in OVERRIDES
        for c in tidy
    ):
        raise invalid(field, "must not contain control characters")
    if not any(_is_visible(c) for c in tidy):
        raise invalid(field, "must not be empty")
    unmarked = "".join(c for c in tidy if unicodedata.category(c)[0] != "M" and c not in JOINERS)
    if any(len(_alphabets(word)) > 1 for word in re.split(r"[\W\d_]+", unmarked)):
        raise invalid(field, "must not mix letters of different alphabets in one word")
    return tidy


def clean_optional(field: str, text: str | None) -> str | None:
    """Like `clean`, but returns None for an empty text."""
    return clean(field, text) if text and _visible(text).strip() else None


def _visible(text: str) -> str:
    """The text without characters that show nothing and shape nothing."""
    if text.isascii():
        return text
    return FLAG_OR_TAGS.sub(lambda found: found[1] or "", INVISIBLE.sub("", text))


def _shaping(found: re.Match[str]) -> str:
    """The first selector and the first joiner, if they can shape the character before them.

    After a letter of these alphabets they would only make two equal words different.
    """
    run = found[0]
    before = found.string[: found.start()]
    base = next((c for c in reversed(before) if unicodedata.category(c)[0] != "M"), " ")
    if base in KEYCAPS:
        return "\ufe0f" if run[0] == "\ufe0f" else ""
    if base.isascii() or base.isspace() or _alphabets(base):
        return ""
    return run[0] + next((c for c in run[1:] if c in JOINERS and run[0] not in JOINERS), "")


def _is_visible(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in VISIBLE or category == UNASSIGNED


def _alphabets(word: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in word} & ALPHABETS
