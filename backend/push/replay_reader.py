"""Reads the replay logs of many channels by one call of Redis."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from backend.push.push_log import Message, pack, read_message


class Position(NamedTuple):
    """The last message that a client has of a channel."""

    epoch: int
    seq: int


class LoggedMessage(NamedTuple):
    seq: int
    message: Message


class ChannelLog(NamedTuple):
    """What Redis has of a channel: its last number, and the messages for those who resume."""

    top: Position
    # The lowest number from which the messages are complete.
    floor: int
    messages: Sequence[LoggedMessage]

    def is_complete_from(self, position: Position) -> bool:
        """Return whether the messages are all that a client at this position misses."""
        return position.epoch == self.top.epoch and self.floor <= position.seq <= self.top.seq


class Logs(NamedTuple):
    """The reply of READ: `number` is that of the push log's last message. Of the requested
    channels, the first ones.
    """

    epoch: int
    number: int
    channels: Sequence[ChannelLog]


def arguments(
    seqs_prefix: str, requests: Mapping[str, Collection[int]], *, max_bytes: int
) -> list[str | int | bytes]:
    """Return the arguments of READ for channels and the numbers from which clients resume."""
    packed = pack([[channel, *sorted(seqs)] for channel, seqs in requests.items()])
    return [seqs_prefix, max_bytes, packed]


def read_logs(reply: Sequence[Any]) -> Logs:
    """Return the logs of a reply of READ. Raises ValueError for messages that cannot be read."""
    epoch, number = int(reply[0]), int(reply[1])
    channels = [
        ChannelLog(
            Position(epoch, int(top)),
            int(floor),
            [
                LoggedMessage(int(seq), _message_of(value))
                for seq, value in zip(found[::2], found[1::2], strict=True)
            ],
        )
        for top, floor, found in reply[2:]
    ]
    return Logs(epoch, number, channels)


def _message_of(value: bytes) -> Message:
    try:
        return read_message(value)
    except msgspec.MsgspecError as error:
        raise ValueError("this is not a logged message") from error
