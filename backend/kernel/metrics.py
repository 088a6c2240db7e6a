"""Prometheus metrics that every process has."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# Without this, each counter and histogram exports a second series that no dashboard reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Histogram(
    "gittix_http_request_seconds",
    "Time to answer a request",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STALE = Counter(
    "gittix_stale_attempts",
    "Operations that changed nothing, because the expected state no longer existed",
    ["operation"],
)
EXPIRY_ERRORS = Counter(
    "gittix_expiry_errors", "Orders whose expiry raised; each is tried again after a minute"
)
TASK_RESTARTS = Counter(
    "gittix_task_restarts", "Restarts of a supervised background task", ["task"]
)
TASK_HEARTBEAT = Gauge(
    "gittix_task_heartbeat_timestamp_seconds",
    "Time of the last heartbeat of a background task",
    ["task"],
)
LEASE_HELD = Gauge(
    "gittix_lease_held",
    "1 while this process holds the lease, else 0",
    ["lease"],
)
IDEMPOTENCY = Counter(
    "gittix_idempotent_requests",
    "Requests whose Idempotency-Key was known: replayed, still in flight, or of another request",
    ["outcome"],
)
POOL_MAX = Gauge("gittix_pool_connections_max", "Connections that a pool may have", ["pool"])
POOL_USED = Gauge("gittix_pool_connections_used", "Connections of a pool that are in use", ["pool"])
POOL_WAIT = Histogram(
    "gittix_pool_wait_seconds",
    "Time to acquire a connection from a pool; timeouts are in the last bucket",
    ["pool"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5),
)
