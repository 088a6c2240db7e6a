"""Traces for an OpenTelemetry collector. Without an endpoint, OpenTelemetry is not imported and no
span is recorded.

A trace's id is the correlation id. All work that one request causes in every process is therefore
one trace, and no envelope, queue or table has a second id. The spans of a process nest; the first
span of each process has no parent, because no parent id crosses processes. A full queue drops
spans. When the collector does not answer, only the exporting thread waits.
"""

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

EXPORT_SECONDS = 3.0
STOP_SECONDS = 4.0

_NOTHING: AbstractContextManager[None] = nullcontext()
# One for each process, as the metrics are.
_tracer: "Tracer | None" = None
_provider: Any = None


def configure(settings: Settings, *, service: str) -> None:
    """Start tracing if an endpoint is set. Raises SettingsError when the packages are missing."""
    if not settings.otel_exporter_otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed:"
            " install gittix[tracing], or unset it"
        ) from error

    class ByCorrelation(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            # A background loop has no correlation id, and the nil UUID, which a client may send as
            # its X-Request-Id, is no valid trace id.
            found = correlation.find()
            return (found.int if found else 0) or super().generate_trace_id()

    global _tracer, _provider  # noqa: PLW0603 - set once, before the first span
    _provider = TracerProvider(
        resource=Resource.create({"service.name": settings.otel_service_name or service}),
        id_generator=ByCorrelation(),
        shutdown_on_exit=False,
    )
    # The exporter and its queue read their other settings from the OTEL_… variables.
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS)))
    _tracer = _provider.get_tracer("gittix")


def enabled() -> bool:
    return _tracer is not None


def stop() -> None:
    """Export the queued spans. Waits STOP_SECONDS at most, so that no collector delays the exit."""
    if _provider is not None:
        sending = threading.Thread(target=_provider.shutdown, daemon=True)
        sending.start()
        sending.join(STOP_SECONDS)


def span(name: str) -> "AbstractContextManager[Span | None]":
    """A context manager that records the block as a span, the child of the enclosing span.

    The collector groups spans by their names, so a name contains no values.
    """
    if _tracer is None:
        return _NOTHING
    # The text of an exception may contain secrets.
    return _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    )


def record_span(name: str, correlation_id: UUID | None, since: float) -> None:
    """Record a span without a parent, from `since` (seconds of Unix time) until now."""
    if _tracer is None or correlation_id is None:
        return
    from opentelemetry.context import Context  # noqa: PLC0415

    with correlation.bound(correlation_id):
        _tracer.start_span(name, Context(), start_time=int(since * 1e9)).end(time.time_ns())
