"""The gateway's Prometheus metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SOCKETS: Final = Gauge("gittix_push_sockets", "Open sockets")
SUBSCRIPTIONS: Final = Gauge(
    "gittix_push_subscriptions", "Subscriptions of open sockets to channels"
)
FRAMES: Final = Counter("gittix_push_frames", "Frames written to sockets")
CONFLATED: Final = Counter(
    "gittix_push_conflated", "States that a newer one replaced before a slow client read them"
)
OPENED: Final = Counter("gittix_push_opened", "Sockets accepted")
REFUSED: Final = Counter(
    "gittix_push_refused", "Sockets refused with 429, because their address has too many"
)
CLOSES: Final = Counter(
    "gittix_push_closes", "Sockets that this gateway closed or refused", ["code", "reason"]
)
RECEIVED_FRAMES: Final = Counter(
    "gittix_push_received_frames", "Frames of any kind received from sockets"
)
RECEIVED_BYTES: Final = Counter("gittix_push_received_bytes", "Bytes received from sockets")
PAUSES: Final = Counter(
    "gittix_push_pauses",
    "Times the gateway stopped reading from a socket: `socket` above its own budget, `turn` above "
    "that of one iteration of the event loop",
    ["budget"],
)
GAPS: Final = Counter(
    "gittix_push_log_gaps", "Times the push log was trimmed before this gateway had read it"
)
MALFORMED: Final = Counter("gittix_push_log_malformed", "Push log entries that could not be read")
RESUMES: Final = Counter(
    "gittix_push_resumes",
    "Resumes of channels: `current` missed nothing, `recovered` got all that it missed; "
    "`incomplete` and `budget` make the client read the API",
    ["outcome"],
)
LAG: Final = Histogram(
    "gittix_push_lag_seconds",
    "Time from the append to the push log (Redis's clock) to the write to sockets",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
CLUSTER_CALLS: Final = Counter(
    "gittix_push_cluster_calls",
    "Reports of this gateway's subscriptions and members to Redis: `answered` or `failed`",
    ["outcome"],
)
REGISTRATIONS: Final = Counter(
    "gittix_push_registrations",
    "Times this gateway registered again, because its lease had ended or Redis had lost data",
)
