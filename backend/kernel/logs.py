"""Structured logs: one line an event, to standard error, with the process's name and version and
the correlation id.

Lines of other libraries have the same format. A value whose key names a secret is masked, and so
is the password of a URL, so that `log.info(..., token=token)` by mistake reveals nothing.
"""

import logging
import re
import sys
from importlib.metadata import version
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from backend.kernel import correlation

SECRET_NAMES = ("password", "token", "secret", "authorization", "cookie", "api_key", "private_key")
URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@")


def configure(*, level: str, style: Literal["console", "json"], service: str = "gittix") -> None:
    """Configure structlog and the standard library's logging for this process."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default prints local variables, secrets included, and takes seconds.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    common: list[Processor] = [
        _add_correlation_id,
        *([_AddService(service, version("gittix"))] if style == "json" else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *([structlog.processors.format_exc_info] if style == "json" else []),
        _mask,
    ]
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[others], force=True)


def _add_correlation_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    found = correlation.find()
    return event if found is None else {correlation.NAME: str(found), **event}


class _AddService:
    """Adds the name and version of the process to each line."""

    def __init__(self, service: str, version: str) -> None:
        self._names = {"service": service, "version": version}

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **self._names}


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if any(secret in name.lower() for secret in SECRET_NAMES):
            event[name] = "***"
        else:
            event[name] = _without_passwords(value)
    return event


def _without_passwords(value: Any) -> Any:
    """The user name of a URL stays, since an error must name the role that could not log in."""
    if isinstance(value, str) and "://" in value:
        return URL_PASSWORD.sub(r"\1:***@", value)
    return value
