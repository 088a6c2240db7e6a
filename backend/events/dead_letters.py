"""Dead letters: events that a consumer gave up, looked at and sent back.

A letter goes back to the one consumer that buried it, on a stream of that consumer's own; nobody else gets it again, and
the ids of the event stream stay as they are. Leaving the dead letters and joining that stream is one step, so a letter
is never in both places nor in none. Its tries start over, the inbox still turns away what was done, and one that fails
again is buried again as a new letter.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis

from backend.events.catalogue import Event
from backend.events.stream import AGAIN, DEAD_LETTERS, EventStream, read

PAGE = 100

# KEYS: the dead letters, then the stream that each letter goes to; ARGV: the letters' ids.
# Returns the ids that are no letters; with any of these nothing is moved.
_REDRIVE = """
local letters, missing = {}, {}
for i, id in ipairs(ARGV) do
    local found = redis.call('XRANGE', KEYS[1], id, id)
    if #found == 0 then missing[#missing + 1] = id else letters[i] = found[1][2] end
end
if #missing > 0 then return missing end
for i, id in ipairs(ARGV) do
    local fields = {}
    for at = 1, #letters[i], 2 do fields[letters[i][at]] = letters[i][at + 1] end
    redis.call('XADD', KEYS[i + 1], '*', 'e', fields['e'], 'entry', fields['entry'])
    redis.call('XDEL', KEYS[1], id)
end
return missing
"""


class DeadLetterError(Exception):
    """What was asked for can't be done; the message is a sentence that says why."""


class DeadLetter(NamedTuple):
    """One dead letter. `entry` is the id that it had on the event stream; `event` is None where its body is none."""

    id: str
    consumer: str
    entry: str
    reason: str
    event: Event | None

    @property
    def buried_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, UTC)


async def count_letters(redis: Redis) -> int:
    return int(await redis.xlen(DEAD_LETTERS))


async def all_letters(redis: Redis) -> AsyncIterator[DeadLetter]:
    """Every letter, oldest first."""
    start = "-"
    while page := await redis.xrange(DEAD_LETTERS, min=start, count=PAGE):
        for letter_id, fields in page:
            yield _letter(letter_id, fields)
        start = f"({page[-1][0].decode()}"


async def find_letters(redis: Redis, ids: Sequence[str]) -> list[DeadLetter]:
    """The letters of these ids, each once. Raises DeadLetterError for one that there is not."""
    found = []
    for letter_id in dict.fromkeys(ids):
        if not _is_id(letter_id):
            raise DeadLetterError(
                f"{letter_id!r} is not the id of a letter; gittix events dead shows them"
            )
        page = await redis.xrange(DEAD_LETTERS, min=letter_id, max=letter_id)
        if not page:
            raise _no_letters([letter_id])
        found.append(_letter(*page[0]))
    return found


async def letters_of(redis: Redis, consumer: str | None) -> list[DeadLetter]:
    """Every letter, or one consumer's. Raises DeadLetterError for a consumer that nobody has heard of."""
    letters = [letter async for letter in all_letters(redis)]
    if consumer is None:
        return letters
    found = [letter for letter in letters if letter.consumer == consumer]
    if not found:
        await _check_reads(redis, {consumer})
    return found


async def redrive(redis: Redis, letters: Sequence[DeadLetter]) -> None:
    """Send letters back to who buried them, in their order.

    Raises DeadLetterError, with nothing moved, when one's consumer is no more; and, with its page unmoved, when one is gone.
    """
    await _check_reads(redis, {letter.consumer for letter in letters})
    script = redis.register_script(_REDRIVE)
    for start in range(0, len(letters), PAGE):
        page = letters[start : start + PAGE]
        keys = [DEAD_LETTERS, *(AGAIN + letter.consumer for letter in page)]
        if missing := await script(keys=keys, args=[letter.id for letter in page]):
            raise _no_letters([letter_id.decode() for letter_id in missing])


async def _check_reads(redis: Redis, consumers: set[str]) -> None:
    """What goes to nobody would be out of sight."""
    known = set(await EventStream(redis).readers())
    if strangers := consumers - known:
        there_are = ", ".join(sorted(known)) or "none"
        raise DeadLetterError(
            f"there is no consumer {', '.join(sorted(strangers))}; there are: {there_are}"
        )


def _letter(letter_id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    text = {name: fields.get(name, b"").decode() for name in (b"consumer", b"entry", b"reason")}
    return DeadLetter(
        letter_id.decode(),
        text[b"consumer"],
        text[b"entry"],
        text[b"reason"],
        read(text[b"entry"].encode(), fields),
    )


def _no_letters(ids: Sequence[str]) -> DeadLetterError:
    return DeadLetterError(f"there is no dead letter {', '.join(ids)}: was it sent back already?")


def _is_id(text: str) -> bool:
    milliseconds, _, number = text.partition("-")
    return milliseconds.isdecimal() and number.isdecimal()
