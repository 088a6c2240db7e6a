"""Traces, for who has an OpenTelemetry collector: until its endpoint is set nothing of this is imported or costs anything.

A trace's id is the correlation id, so that what one click sets in motion in every process is one trace, and no envelope,
queue or table has a word more for it. Spans of a process nest; the first of each process has no parent, since nobody
told it of one. A full queue drops spans, and a collector that is away is nobody's wait but the exporting thread's.
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
# As the metrics are, this is one for the process.
_tracer: "Tracer | None" = None
_provider: Any = None


def configure(settings: Settings, *, service: str) -> None:
    """Begin to trace, where an endpoint is set. Raises SettingsError when the packages are not there."""
    if not settings.otel_exporter_otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as fault:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: install gittix[tracing], or unset it"
        ) from fault

    class ByCorrelation(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            # A background loop has no correlation id, and a caller may send the nil UUID, which no trace may have.
            found = correlation.find()
            return (found.int if found else 0) or super().generate_trace_id()

    global _tracer, _provider  # noqa: PLW0603 - once, before anything is traced
    _provider = TracerProvider(
        resource=Resource.create({"service.name": settings.otel_service_name or service}),
        id_generator=ByCorrelation(),
        shutdown_on_exit=False,
    )
    # The exporter and its queue take the rest from the OTEL_… variables.
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS)))
    _tracer = _provider.get_tracer("gittix")


def enabled() -> bool:
    return _tracer is not None


def stop() -> None:
    """Send what waits, but don't let a collector that is away hold up the process's end."""
    if _provider is not None:
        sending = threading.Thread(target=_provider.shutdown, daemon=True)
        sending.start()
        sending.join(STOP_SECONDS)


def span(name: str) -> "AbstractContextManager[Span | None]":
    """What the block does, as a part of what it stands in. Names are of few kinds, and hold no values."""
    if _tracer is None:
        return _NOTHING
    # A fault's text may have anything in it.
    return _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    )


def passed(name: str, correlation_id: UUID | None, since: float) -> None:
    """A span of an event's way, from `since` (seconds of the epoch) until now, whatever this process is about besides."""
    if _tracer is None or correlation_id is None:
        return
    from opentelemetry.context import Context  # noqa: PLC0415

    with correlation.bound(correlation_id):
        _tracer.start_span(name, Context(), start_time=int(since * 1e9)).end(time.time_ns())
