"""What the gateway needs to know, and every bound that it holds. Times in seconds, sizes in bytes."""

from dataclasses import dataclass
from typing import Final

# What one tick may produce for a socket; a limit that it alone could pass would close quick readers.
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
    # All that may wait for one socket: several slices.
    send_buffer_limit_bytes: int = 1_048_576
    max_connections: int = 50_000
    # Protocol limits of hosted Pusher: a roster is sent whole to everyone who joins.
    max_presence_members: int = 100
    max_presence_member_bytes: int = 1_024
    # How long a closed socket may take to read what was written to it before it is cut.
    close_timeout_seconds: float = 5.0
    drain_seconds: float = 2.0
    # Clients behind a hole must not wait as long as those of a planned end.
    gap_seconds: float = 2.0
    redis_timeout_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.send_buffer_limit_bytes < 2 * SLICE_BYTES:
            raise ValueError(f"send_buffer_limit_bytes must be at least {2 * SLICE_BYTES}")
        if not self.max_message_bytes <= SLICE_BYTES // 2:
            raise ValueError(f"max_message_bytes must be at most {SLICE_BYTES // 2}")

    @property
    def max_frame_bytes(self) -> int:
        """A message may double when its quotes are escaped inside the envelope's string."""
        return 2 * self.max_message_bytes + 4_096
