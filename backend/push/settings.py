"""The gateway's settings and bounds. Times are in seconds, sizes in bytes."""

from dataclasses import dataclass
from typing import Final

# The most bytes that one loop iteration enqueues for a socket. The buffer limit must be higher,
# else it would close sockets that read fast enough.
SLICE_BYTES: Final = 131_072


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    app_id: str
    key: str
    secret: str
    redis_url: str
    activity_timeout_seconds: float = 30
    pong_timeout_seconds: float = 30
    max_message_bytes: int = 10_240
    max_channels_per_connection: int = 500
    client_events_per_second: int = 10
    messages_per_second: int = 100
    # The most bytes that may wait for one socket: several slices.
    send_buffer_limit_bytes: int = 1_048_576
    max_connections: int = 50_000
    # Limits of hosted Pusher: each new member gets the complete roster.
    max_presence_members: int = 100
    max_presence_member_bytes: int = 1_024
    # After the close frame, a client has this long to read the remaining bytes before the transport
    # is aborted.
    close_timeout_seconds: float = 5.0
    drain_seconds: float = 2.0
    # After missed messages, all clients are disconnected within this time; it may be shorter than a
    # planned drain.
    gap_seconds: float = 2.0
    redis_timeout_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.send_buffer_limit_bytes < 2 * SLICE_BYTES:
            raise ValueError(f"send_buffer_limit_bytes must be at least {2 * SLICE_BYTES}")
        if not self.max_message_bytes <= SLICE_BYTES // 2:
            raise ValueError(f"max_message_bytes must be at most {SLICE_BYTES // 2}")

    @property
    def max_frame_bytes(self) -> int:
        """The largest accepted frame: escaping quotes may double a message."""
        return 2 * self.max_message_bytes + 4_096
