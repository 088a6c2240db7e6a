"""Resumes: a client that returns gets the numbered messages that it missed.

A client sends `gittix:resume` with the last number that it has of a channel. From then on the live
messages of that channel are held for it. The replay log is read up to its present top, the high
water mark; the messages up to it are sent, then `gittix:resumed` with that number, then the held
ones. Invariant: `recovered: true` is sent only if the messages before it are all that the client
missed. Otherwise the client reads the API: after `recovered: false`, also when Redis does not
answer or a budget is used up.

The requests that arrive while Redis is read share the next read, in which each channel is read once
for all its clients. The same reads find the channels' tops, which `subscription_succeeded` has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import structlog
from redis.exceptions import RedisError

from backend.kernel.supervisor import heartbeat
from backend.push import protocol
from backend.push.channels import Channel, ChannelRegistry, Subscriber
from backend.push.metrics import RESUMES
from backend.push.push_log import SEQS_PREFIX, STATE, Entry, numbered_data
from backend.push.push_log_backend import PushLogBackend
from backend.push.replay_log import READ
from backend.push.replay_reader import ChannelLog, Logs, Position, arguments, read_logs
from backend.push.replay_state import Held, ResumeBudget
from backend.push.settings import GatewaySettings

TASK: Final = "push-replay"
RESUMED: Final = "gittix:resumed"
# The most channels, and about the most bytes of messages, of one read: Redis runs it in some
# milliseconds.
CHANNELS_PER_READ: Final = 500
BYTES_PER_READ: Final = 1_048_576
# After so many frames the sockets get their turn.
FRAMES_PER_TURN: Final = 2_000
# After a failure, and while no message has a number, the tops are not read for this long.
PAUSE_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 1.0
POSTPONED_SECONDS: Final = 0.2

log = structlog.get_logger()


@dataclass(eq=False)
class Resume:
    subscriber: Subscriber
    budget: ResumeBudget
    position: Position
    # The socket ids whose own messages are left out: the present one, and that before it.
    excluded: tuple[str, ...]
    held: Held


@dataclass
class Lookup:
    """The tops that subscribers of a channel wait for; a message may arrive before Redis's reply.

    Until the last of them has subscribed, each message of the channel moves `position`.
    """

    found: asyncio.Future[None]
    waiting: int = 0
    position: Position | None = None

    def learn(self, position: Position) -> None:
        self.position = max(self.position, position) if self.position else position


class Served(NamedTuple):
    """The requests for one channel that a read answers. Later ones need another read, since their
    subscribers may have missed messages between this read and their subscription.
    """

    lookup: Lookup | None
    resumes: list[Resume]


class Frame(NamedTuple):
    """A logged message as a frame, with the socket that does not get it."""

    seq: int
    excluded: str | None
    content: bytes


class Replays:
    def __init__(
        self,
        registry: ChannelRegistry,
        push_log: PushLogBackend,
        settings: GatewaySettings,
        sessions_are_known: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._push_log = push_log
        self._settings = settings
        self._sessions_are_known = sessions_are_known
        self._read_script = push_log.writer.register_script(READ)
        self._loop = asyncio.get_running_loop()
        self._resumes: dict[str, list[Resume]] = {}
        self._lookups: dict[str, Lookup] = {}
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._paused_until = float("-inf")
        self._epoch: int | None = None

    async def run(self) -> None:
        """Answer requests, forever."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            heartbeat(TASK)
            while self._wanted:
                await self._answer()
            self._wake.clear()

    # Positions.

    def note(self, entry: Entry, channel: Channel | None, name: str, seq: int) -> None:
        """Note that a numbered message is delivered to a channel."""
        position = Position(entry.stamps[0], seq)
        if channel is not None:
            channel.position = position
        lookup = self._lookups.get(name)
        if lookup is not None:
            lookup.learn(position)

    async def begin_epoch(self, entry: Entry) -> None:
        """Report the loss to the clients with positions of an older epoch: Redis lost messages, of
        which nobody knows the channels. All numbers of the new epoch are above that of the log's
        last message before it.
        """
        epoch = entry.stamps[0]
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._paused_until = float("-inf")
        position = Position(epoch, entry.number - len(entry.messages))
        for channel in tuple(self._registry.occupied()):
            if channel.position is not None and channel.position.epoch < epoch:
                channel.position = position
                frame = _resumed(channel.name, position, recovered=False)
                # Those whose resume waits get a reply of their own.
                await self._registry.broadcast(channel.name, frame)

    async def top(self, name: str) -> Position | None:
        """Return the number of the channel's last message; None if it is unknown.

        The caller must subscribe before it waits again. Then all later messages reach it.
        """
        channel = self._registry.channel(name)
        if channel is not None and channel.position is not None:
            return channel.position
        if self._loop.time() < self._paused_until:
            return None
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = self._lookups[name] = Lookup(self._loop.create_future())
            self._want(name)
        lookup.waiting += 1
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds + PAUSE_SECONDS):
                # The others wait for the same future.
                await asyncio.shield(lookup.found)
        except TimeoutError:
            log.warning("the top of a channel was not found in time", channel=name)
        finally:
            lookup.waiting -= 1
            if not lookup.waiting and self._lookups.get(name) is lookup:
                del self._lookups[name]
        return lookup.position

    # Resumes.

    def resume(self, subscriber: Subscriber, request: protocol.Resume) -> None:
        """Answer a resume of a subscriber now, or after the next read.

        Of two for a channel at once, the first is answered.
        """
        channel = self._registry.channel(request.channel)
        if channel is None or subscriber not in channel.subscribers:
            error = protocol.error(None, "not subscribed to this channel", request.channel)
            subscriber.send(error)
            return
        if subscriber in channel.holding:
            return
        if subscriber.resume_budget is None:
            subscriber.resume_budget = ResumeBudget(self._settings, self._loop.time())
        budget: ResumeBudget = subscriber.resume_budget
        position = Position(request.epoch, request.seq)
        if not budget.requests.allows(self._loop.time()):
            self._finish("budget", subscriber, channel, channel.position, recovered=False)
        elif self._loop.time() < self._paused_until:
            self._finish("incomplete", subscriber, channel, channel.position, recovered=False)
        elif position == channel.position:
            self._finish("current", subscriber, channel, position, recovered=True)
        else:
            held = Held(self._settings)
            channel.hold(subscriber, held)
            excluded = (subscriber.socket_id, request.socket_id or subscriber.socket_id)
            resume = Resume(subscriber, budget, position, excluded, held)
            self._resumes.setdefault(request.channel, []).append(resume)
            self._want(request.channel)

    # Reads.

    def _want(self, name: str) -> None:
        self._wanted[name] = None
        self._wake.set()

    async def _answer(self) -> None:
        """Read some of the wanted channels, and answer the requests for them."""
        names = list(self._wanted)[:CHANNELS_PER_READ]
        served = {
            name: Served(self._lookups.get(name), self._resumes.pop(name, [])) for name in names
        }
        for name in names:
            del self._wanted[name]
        logs = await self._read(served)
        found = logs.channels if logs is not None else [None] * len(names)
        for name, log in zip(names, found, strict=False):
            await self._answer_channel(name, served[name], log)
        for name in names[len(found) :]:
            self._resumes.setdefault(name, []).extend(served[name].resumes)
            self._want(name)

    async def _read(self, served: Mapping[str, Served]) -> Logs | None:
        """Return the logs of the first of these channels, at least of one. Returns None if Redis
        has none, does not answer, or lost messages that this gateway has read.
        """
        known = self._push_log.number
        requests = {
            name: {resume.position.seq for resume in served.resumes}
            for name, served in served.items()
        }
        values = arguments(SEQS_PREFIX, requests, max_bytes=BYTES_PER_READ)
        logs = None
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                script = self._read_script(keys=[STATE], args=values)
                logs = read_logs(await cast(Awaitable[Sequence[Any]], script))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("replay logs cannot be read", error=repr(error))
        except ValueError:
            log.exception("replay log malformed")
        usable = logs is not None and logs.epoch and logs.number >= known
        self._paused_until = float("-inf") if usable else self._loop.time() + PAUSE_SECONDS
        return logs if usable else None

    async def _answer_channel(self, name: str, served: Served, found: ChannelLog | None) -> None:
        if served.lookup is not None and not served.lookup.found.done():
            if found is not None:
                served.lookup.learn(found.top)
            served.lookup.found.set_result(None)
        frames = _frames(name, found) if found is not None and served.resumes else []
        sent = 0
        for resume in served.resumes:
            if resume.subscriber.session_id is not None and not self._sessions_are_known():
                self._postpone(name, resume)
                continue
            sent += self._replay(name, resume, found, frames)
            if sent >= FRAMES_PER_TURN:
                await self._registry.flusher.drained()
                sent = 0

    def _postpone(self, name: str, resume: Resume) -> None:
        """Answer later: while sessions may have ended, their sockets get no messages. After some
        seconds the gateway closes them.
        """
        channel = self._registry.channel(name)
        if channel is not None and channel.holding.get(resume.subscriber) is resume.held:
            self._resumes.setdefault(name, []).append(resume)
            self._loop.call_later(POSTPONED_SECONDS, self._want, name)

    def _replay(
        self, name: str, resume: Resume, found: ChannelLog | None, frames: Sequence[Frame]
    ) -> int:
        """Send a subscriber the frames that it missed. Returns the number of all frames sent."""
        channel = self._registry.channel(name)
        subscriber, held = resume.subscriber, resume.held
        if channel is None or channel.holding.get(subscriber) is not held:
            return 0
        if found is None or not found.is_complete_from(resume.position):
            top = found.top if found is not None else None
            self._finish("incomplete", subscriber, channel, top, recovered=False)
            return len(held.frames)
        missed = [
            frame.content
            for frame in frames
            if frame.seq > resume.position.seq and frame.excluded not in resume.excluded
        ]
        if not resume.budget.bytes.allows(self._loop.time(), sum(map(len, missed))):
            self._finish("budget", subscriber, channel, found.top, recovered=False)
            return len(held.frames)
        for frame in missed:
            subscriber.send(frame)
        self._finish("recovered", subscriber, channel, found.top, recovered=True)
        return len(missed) + len(held.frames)

    def _finish(
        self,
        outcome: str,
        subscriber: Subscriber,
        channel: Channel,
        position: Position | None,
        *,
        recovered: bool,
    ) -> None:
        """Send `gittix:resumed`, then the held messages."""
        RESUMES.labels(outcome).inc()
        subscriber.send(_resumed(channel.name, position, recovered=recovered))
        for frame in channel.release(subscriber):
            subscriber.send(frame)


def _frames(name: str, found: ChannelLog) -> list[Frame]:
    """Return the channel's messages as frames, which all its subscribers share."""
    return [
        Frame(
            seq,
            message.excluded,
            protocol.frame(
                message.event,
                numbered_data(message.data, found.top.epoch, seq),
                name,
                message.user_id,
            ),
        )
        for seq, message in found.messages
    ]


def _resumed(name: str, position: Position | None, *, recovered: bool) -> bytes:
    epoch, seq = position or (None, None)
    return protocol.json_frame(
        RESUMED, {"channel": name, "recovered": recovered, "epoch": epoch, "seq": seq}, name
    )
