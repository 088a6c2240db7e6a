"""The state of a socket's resumes: its budget, and the live messages that wait for a replay."""

from backend.push.settings import GatewaySettings
from backend.push.token_bucket import TokenBucket


class ResumeBudget:
    """The resumes of one socket: how many, and the bytes that they replay."""

    __slots__ = ("bytes", "requests")

    def __init__(self, settings: GatewaySettings, now: float) -> None:
        at_once = settings.max_channels_per_connection
        self.requests = TokenBucket(settings.resumes_per_second, at_once, now)
        self.bytes = TokenBucket(
            settings.replay_bytes_per_second, settings.replay_bytes_at_once, now
        )


class Held:
    """The live messages of a channel that wait for one subscriber's replay, in order."""

    __slots__ = ("_bytes", "_max_bytes", "_max_frames", "frames")

    def __init__(self, settings: GatewaySettings) -> None:
        self.frames: list[bytes] = []
        self._bytes = 0
        self._max_frames = settings.max_held_frames
        self._max_bytes = settings.max_held_bytes

    def add(self, frame: bytes) -> bool:
        """Hold a frame. Returns False when it is one too many."""
        self._bytes += len(frame)
        if len(self.frames) >= self._max_frames or self._bytes > self._max_bytes:
            return False
        self.frames.append(frame)
        return True
