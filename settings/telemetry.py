"""Logs, metrics and traces: set up once by each process that is a composition root."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Interceptor
from temporalio.runtime import (
    LoggingConfig,
    OpenTelemetryConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from settings.redaction import HIDDEN, is_secret_field, redact, redact_value
from settings.settings import Settings


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide secrets in a log line's values: structlog's last processor before the renderer."""
    for key, value in event.items():
        event[key] = HIDDEN if is_secret_field(key, value) else redact_value(value)
    return event


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Hide secrets in the rendered line once more: a traceback may carry one."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up_logging(settings: Settings, *, process: str) -> None:
    """Send structlog's and the standard library's lines to stderr, as JSON or for people, without secrets.

    `process` names who speaks, such as `api` or `worker`; it is on every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    if settings.log_json:
        # Local variables stay out of the log: they are where secrets live.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        renderers: list[Any] = [tracebacks, redact_event, structlog.processors.JSONRenderer()]
    else:
        renderers = [
            redact_event_but_exceptions,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    # Their INFO lines tell of every request; ours tell what it meant.
    for noisy in ("aiosmtpd", "mail.log", "alembic.runtime.migration", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    for note in settings.notes:
        structlog.get_logger("settings").warning(note)


def redact_event_but_exceptions(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide secrets, and leave the exception for the console renderer, whose text is redacted afterwards."""
    exception = event.pop("exc_info", None)
    event = redact_event(logger, method, event)
    if exception is not None:
        event["exc_info"] = exception
    return event


def temporal_runtime(settings: Settings) -> Runtime:
    """Make the SDK's runtime; its metrics go to the collector, or are served for Prometheus where none is set.

    One a process; pass it to `Client.connect(runtime=...)`.
    """
    endpoint = settings.otel_exporter_otlp_endpoint
    metrics: OpenTelemetryConfig | PrometheusConfig
    if endpoint:
        metrics = OpenTelemetryConfig(
            url=f"{endpoint}/v1/metrics",
            metric_periodicity=timedelta(seconds=10),
            durations_as_seconds=True,
            http=True,
        )
    else:
        metrics = PrometheusConfig(
            bind_address=f"{settings.metrics_host}:{settings.temporal_metrics_port}",
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
        )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR")),
            metrics=metrics,
            global_tags={"deployment": settings.holdfast_deployment},
        )
    )


def trace_interceptors(settings: Settings, *, process: str) -> list[Interceptor]:
    """Make what `Client.connect(interceptors=...)` needs for traces; empty where no collector is set.

    A span bears names, ids and the texts of errors; never arguments or results.
    """
    endpoint = settings.otel_exporter_otlp_endpoint
    if not endpoint:
        return []
    # Half a second of every start, so only where it is used.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

    resource = Resource.create({"service.name": f"holdfast-{process}", "deployment": settings.holdfast_deployment})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    return [TracingInterceptor(provider.get_tracer("holdfast"))]
