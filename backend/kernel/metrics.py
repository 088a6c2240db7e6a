"""Prometheus metrics that every process has, and the endpoint that shows them."""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response

REQUESTS = Histogram(
    "gittix_http_request_seconds",
    "Time to answer a request",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STALE = Counter(
    "gittix_stale_attempts",
    "Attempts to end, pay or complete something that had gone on meanwhile; they changed nothing",
    ["operation"],
)
TASK_RESTARTS = Counter("gittix_task_restarts", "Restarts of a supervised background task", ["task"])
TASK_HEARTBEAT = Gauge(
    "gittix_task_heartbeat_timestamp_seconds", "When a background task last said it was alive", ["task"]
)


async def metrics_endpoint(request: Request) -> Response:  # noqa: ARG001 - a route's signature
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
