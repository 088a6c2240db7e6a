"""Dead letters: events that a consumer failed to handle. They can be listed, and redriven.

Redriving appends a dead letter to the redrive stream of the consumer that failed. No other consumer
handles the event again, and the ids of the event stream stay unchanged. One script removes the dead
letter and appends the entry, so it is never in both places and never in neither. Its tries start at
zero, the inbox still discards an event that was handled, and an event that fails again becomes a
new dead letter.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis

from backend.events.catalogue import Event
from backend.events.stream import DEAD_LETTERS, REDRIVE_PREFIX, EventStream, read_event

PAGE = 100

# KEYS: the dead letter stream, then the redrive stream of each dead letter; ARGV: the ids of the
# dead letters. Returns the ids that do not exist; when there are any, nothing is moved.
_REDRIVE = """
local dead_letters, missing = {}, {}
for i, id in ipairs(ARGV) do
    local found = redis.call('XRANGE', KEYS[1], id, id)
    if #found == 0 then missing[#missing + 1] = id else dead_letters[i] = found[1][2] end
end
if #missing > 0 then return missing end
for i, id in ipairs(ARGV) do
    local pairs, fields = dead_letters[i], {}
    for n = 1, #pairs, 2 do fields[pairs[n]] = pairs[n + 1] end
    redis.call('XADD', KEYS[i + 1], '*', 'e', fields['e'], 'entry', fields['entry'])
    redis.call('XDEL', KEYS[1], id)
end
return missing
"""


class DeadLetterError(Exception):
    """A dead letter cannot be found or redriven. The message is a sentence for the operator."""


class DeadLetter(NamedTuple):
    """One dead letter.

    `entry` is its id on the event stream; `event` is None when the entry is not a valid event.
    """

    id: str
    consumer: str
    entry: str
    reason: str
    event: Event | None

    @property
    def added_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, UTC)


async def count_dead_letters(redis: Redis) -> int:
    return int(await redis.xlen(DEAD_LETTERS))


async def all_dead_letters(redis: Redis) -> AsyncIterator[DeadLetter]:
    """Yield every dead letter, oldest first."""
    start = "-"
    while page := await redis.xrange(DEAD_LETTERS, min=start, count=PAGE):
        for letter_id, fields in page:
            yield _letter(letter_id, fields)
        start = f"({page[-1][0].decode()}"


async def find_dead_letters(redis: Redis, ids: Sequence[str]) -> list[DeadLetter]:
    """Return the dead letters with these ids, each once.

    Raises DeadLetterError for an id that does not exist.
    """
    found = []
    for letter_id in dict.fromkeys(ids):
        if not _is_id(letter_id):
            raise DeadLetterError(
                f"{letter_id!r} is not the id of a dead letter; `gittix events dead` lists the ids"
            )
        page = await redis.xrange(DEAD_LETTERS, min=letter_id, max=letter_id)
        if not page:
            raise _no_letters([letter_id])
        found.append(_letter(*page[0]))
    return found


async def dead_letters_of(redis: Redis, consumer: str | None) -> list[DeadLetter]:
    """Return every dead letter, or those of one consumer.

    Raises DeadLetterError for an unknown consumer.
    """
    letters = [letter async for letter in all_dead_letters(redis)]
    if consumer is None:
        return letters
    found = [letter for letter in letters if letter.consumer == consumer]
    if not found:
        await _check_reads(redis, {consumer})
    return found


async def redrive(redis: Redis, letters: Sequence[DeadLetter]) -> None:
    """Move dead letters to the redrive streams of their consumers, in order.

    Raises DeadLetterError when a consumer does not exist; then nothing is moved. Raises it also
    when a dead letter is gone; then its page of PAGE dead letters is not moved, but pages before it
    are.
    """
    await _check_reads(redis, {letter.consumer for letter in letters})
    script = redis.register_script(_REDRIVE)
    for start in range(0, len(letters), PAGE):
        page = letters[start : start + PAGE]
        keys = [DEAD_LETTERS, *(REDRIVE_PREFIX + letter.consumer for letter in page)]
        if missing := await script(keys=keys, args=[letter.id for letter in page]):
            raise _no_letters([letter_id.decode() for letter_id in missing])


async def _check_reads(redis: Redis, consumers: set[str]) -> None:
    """Raise DeadLetterError for an unknown consumer: no process reads its redrive stream."""
    known = set(await EventStream(redis).readers())
    if unknown := consumers - known:
        listed = ", ".join(sorted(known)) or "none"
        raise DeadLetterError(
            f"there is no consumer {', '.join(sorted(unknown))}; the consumers are: {listed}"
        )


def _letter(letter_id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    text = {name: fields.get(name, b"").decode() for name in (b"consumer", b"entry", b"reason")}
    return DeadLetter(
        letter_id.decode(),
        text[b"consumer"],
        text[b"entry"],
        text[b"reason"],
        read_event(text[b"entry"].encode(), fields),
    )


def _no_letters(ids: Sequence[str]) -> DeadLetterError:
    return DeadLetterError(
        f"there is no dead letter {', '.join(ids)}; it may have been redriven already"
    )


def _is_id(text: str) -> bool:
    milliseconds, _, number = text.partition("-")
    return milliseconds.isdecimal() and number.isdecimal()
