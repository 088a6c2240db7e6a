"""The gateway's settings and bounds. Times are in seconds, sizes in bytes."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from backend.kernel.client_address import Network

# The most bytes that one loop iteration enqueues for a socket. The buffer limit must be higher,
# else it would close sockets that read fast enough.
SLICE_BYTES: Final = 131_072
MAX_CONNECTIONS: Final = 50_000
MAX_HTTP_CONNECTIONS: Final = 4_000


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
    # Whether clients may send events to each other; and their budgets: of one socket, and of one
    # user over all sockets of this gateway.
    client_events: bool = False
    client_events_per_second: int = 10
    user_client_events_per_second: int = 20
    user_client_event_bytes_per_second: int = 65_536
    # The origins whose pages may open sockets, or None for any. Clients outside of browsers send
    # none.
    origins: Collection[str] | None = None
    # The messages of the HTTP API that this gateway accepts; one for each channel of an event.
    api_messages_per_second: int = 5_000
    api_messages_at_once: int = 10_000
    # Whether connections may watch users (Pusher's watchlists).
    watchlists: bool = False
    # The URLs to which events of channels are posted.
    webhook_urls: tuple[str, ...] = ()
    messages_per_second: int = 100
    # What one socket may send on average, in frames of any kind and in bytes, and for how many
    # seconds' worth at once. Above it the gateway stops reading; after `flood_seconds`, it closes.
    frames_per_second: int = 200
    bytes_per_second: int = 524_288
    burst_seconds: float = 4
    flood_seconds: float = 5
    # What all sockets together may send in one iteration of the event loop, and the most that one
    # socket sends at a time.
    frames_per_turn: int = 256
    bytes_per_turn: int = 262_144
    read_bytes: int = 1_024
    max_fragments: int = 64
    # The most bytes that may wait for one socket: several slices.
    send_buffer_limit_bytes: int = 1_048_576
    # Above so many bytes that wait in a socket's transport, only the newest state of a key waits.
    high_water_bytes: int = 65_536
    # The unsent bytes of one socket that the kernel takes; further ones wait in the process.
    kernel_send_bytes: int = 65_536
    # How long a cache channel keeps its last event.
    cache_seconds: float = 1_800
    # The resumes of one socket, as many at once as it may have channels, and the bytes that they
    # replay. The bytes at once must fit into the send buffer.
    resumes_per_second: float = 10
    replay_bytes_per_second: int = 65_536
    replay_bytes_at_once: int = 524_288
    # The messages of one channel that wait for one socket's replay.
    max_held_frames: int = 1_000
    max_held_bytes: int = 262_144
    max_connections: int = MAX_CONNECTIONS
    # Of one IPv4 address or one /64 of IPv6: sockets that proved no user, and HTTP connections.
    # Each counts for `address_seconds` at least, so this is a bound on new ones too.
    max_connections_per_address: int = 500
    address_seconds: float = 10
    # HTTP connections, also those that become sockets.
    max_http_connections: int = MAX_HTTP_CONNECTIONS
    # The proxies whose X-Forwarded-For counts.
    trusted_proxies: Iterable[Network] = ()
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
    # How long the people of a killed gateway count as viewers, and how often viewers are counted.
    viewer_lease_seconds: float = 45.0
    viewer_turn_seconds: float = 1.0
    # How long what a killed gateway held counts, and how long a client that left may take to
    # return before others learn of it.
    lease_seconds: float = 10.0
    debounce_seconds: float = 3.0
    # Whether subscribers get `pusher_internal:subscription_count`, as hosted Pusher has it off.
    subscription_counts: bool = False
    # Whether the transitions of channels and members are recorded for a reader (facts.py).
    record_facts: bool = False

    def __post_init__(self) -> None:
        if self.send_buffer_limit_bytes < 2 * SLICE_BYTES:
            raise ValueError(f"send_buffer_limit_bytes must be at least {2 * SLICE_BYTES}")
        if not self.max_message_bytes <= SLICE_BYTES // 2:
            raise ValueError(f"max_message_bytes must be at most {SLICE_BYTES // 2}")
        if self.debounce_seconds >= self.lease_seconds:
            raise ValueError("debounce_seconds must be shorter than lease_seconds")
        if self.frames_per_second * self.burst_seconds < self.max_messages_at_once:
            raise ValueError("burst_seconds must allow max_messages_at_once")

    def allows_origin(self, origin: str) -> bool:
        return self.origins is None or origin in self.origins

    @property
    def max_frame_bytes(self) -> int:
        """The largest accepted frame: escaping quotes may double a message."""
        return 2 * self.max_message_bytes + 4_096

    @property
    def max_messages_at_once(self) -> int:
        """The most messages at once: a page that reconnects subscribes to all its channels."""
        return self.messages_per_second + self.max_channels_per_connection


def connection_limits(open_files: int) -> dict[str, int]:
    """Return the bounds on connections of a process that may open so many files.

    An eighth of the files stays for the stores, so that clients cannot take the last one.
    """
    return {
        "max_connections": min(MAX_CONNECTIONS, open_files * 3 // 4),
        "max_http_connections": min(MAX_HTTP_CONNECTIONS, open_files // 8),
    }
