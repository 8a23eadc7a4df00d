"""The Sanic application: routes, errors, documentation, and the life of the services around it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry
from sanic import Sanic

from app import __version__
from app.access.exposure import refuse_unsafe_start
from app.api.auditing import Auditor
from app.api.browsers import Browsers
from app.api.connections import ConnectionLimits, LimitedProtocol
from app.api.docs import add_documentation
from app.api.error_handler import OneShapeErrors
from app.api.exchanges import Exchanges
from app.api.gate import Gate
from app.api.routes import Router
from app.api.table import all_operations
from app.config import Settings
from app.errors import OperatorError
from app.metrics import Metrics
from app.metrics_files import shared_folder
from app.metrics_page import MetricsPage
from app.services.health import OK
from app.signals import StartInterrupted, StopSignals
from app.wiring import Services, open_services

_LOG = "likeness"
_HEADER_TIMEOUT_S = 30
_KEEP_ALIVE_S = 75
# Sanic's own limit on an answer comes after ours, which answers with a sentence.
_GRACE_S = 15
_DRAINED_BODIES = 4
_MAX_HEAD_BYTES = 16 * 1024  # the most that Sanic allows; an id of 4096 bytes takes 12 KiB percent-encoded


def create_app(
    settings: Settings,
    signals: StopSignals,
    *,
    name: str = "likeness",
    tell_ready: Callable[[], None] | None = None,
) -> Sanic[Any, Any]:
    """Makes the application; its services open when the server starts and close when it stops or is told to.

    Args:
        settings: of the operator.
        signals: what stops it.
        name: Sanic's name of it.
        tell_ready: called when it serves, of a worker.
    """
    registry = CollectorRegistry()
    metrics = Metrics(__version__, registry)
    page = MetricsPage(registry, shared_folder())
    errors = OneShapeErrors(metrics.requests)
    app: Sanic[Any, Any] = Sanic(name, configure_logging=False, error_handler=errors, strict_slashes=False)
    app.config.update(
        {
            "ACCESS_LOG": False,
            "MOTD": False,
            "OAS": False,
            # Bodies are measured where they are read. This is how much of a refused one is still taken and dropped,
            # so that its sender gets to read the answer instead of a reset connection.
            "REQUEST_MAX_SIZE": _DRAINED_BODIES * settings.max_body_bytes,
            "REQUEST_MAX_HEADER_SIZE": _MAX_HEAD_BYTES,
            "REQUEST_TIMEOUT": _HEADER_TIMEOUT_S,
            "RESPONSE_TIMEOUT": int(settings.request_timeout) + _GRACE_S,
            "KEEP_ALIVE_TIMEOUT": _KEEP_ALIVE_S,
            "GRACEFUL_SHUTDOWN_TIMEOUT": settings.shutdown_timeout,
        }
    )
    logging.getLogger("sanic.error").addFilter(_not_told_twice)
    operations = all_operations()
    gate, auditor = Gate(settings), Auditor(settings)
    exchanges = Exchanges(metrics.requests)
    exchanges.watch(app)
    router = Router(settings, gate, auditor, exchanges, metrics)
    router.add(app, operations)
    page.before_each(router.sample)
    add_documentation(app, operations)
    Browsers(settings).add(app)
    gate.guard(app, operations)
    app.ctx.connections = ConnectionLimits(settings)
    app.after_server_stop(lambda _: auditor.close())
    services = partial(open_services, settings, metrics, page, is_worker=tell_ready is not None)
    _add_life(app, settings, signals, services, tell_ready)
    if settings.traces_url:
        _add_traces(app, settings)
    return app


def serve(
    settings: Settings,
    signals: StopSignals,
    *,
    listener: socket.socket | None = None,
    tell_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        settings: of the operator.
        signals: what stops it.
        listener: a listening socket, of a worker; without it one is made.
        tell_ready: see ``create_app``.

    Raises:
        OperatorError: the service cannot start; the sentence says what to do.
    """
    listener = listener or bind(settings)
    app = create_app(settings, signals, tell_ready=tell_ready)
    # One process: the embedded engines belong to it. (Sanic's process manager also hangs on a SIGTERM that comes
    # right after readiness.)
    try:
        app.run(
            sock=listener,
            protocol=LimitedProtocol,
            single_process=True,
            register_sys_signals=False,
            motd=False,
            access_log=False,
        )
    except StartInterrupted:
        logging.getLogger(_LOG).info("Stopped")
    finally:
        listener.close()


def _not_told_twice(record: logging.LogRecord) -> bool:
    """Keeps out a traceback of what the command line tells in one sentence, and advice that does not apply."""
    if "PRODUCTION mode" in record.getMessage():
        return False  # it advises options of Sanic's own command
    return not (record.exc_info and isinstance(record.exc_info[1], OperatorError))


def bind(settings: Settings) -> socket.socket:
    """Takes the port before anything slow is started.

    Raises:
        OperatorError: it cannot be had, or would let in the wrong ones.
    """
    refuse_unsafe_start(settings)  # nobody is to reach what nobody may use, or anybody
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        message = (
            f"Cannot listen on {settings.host} port {settings.port} ({(error.strerror or str(error)).lower()}): "
            "stop what uses it, or choose another with LIKENESS_PORT and LIKENESS_HOST."
        )
        raise OperatorError(message) from error
    return listener


def say_ready_on(settings: Settings, seconds: float) -> None:
    """Tells where the service can be reached."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    log = logging.getLogger(_LOG)
    log.info("Likeness %s is ready on %s after %.1f s", __version__, url, seconds)
    log.info("API documentation: %s/docs", url)


def _stop(app: Sanic[Any, Any]) -> None:
    """Ends serving, once it has begun: Sanic's loop must not be stopped while it runs the listeners of the start."""
    if app.state.is_running:
        app.stop()
    else:
        asyncio.get_running_loop().call_later(0.01, _stop, app)


def _add_life(
    app: Sanic[Any, Any],
    settings: Settings,
    signals: StopSignals,
    services: Callable[[], AbstractAsyncContextManager[Services]],
    tell_ready: Callable[[], None] | None,
) -> None:
    stack = AsyncExitStack()
    log = logging.getLogger(_LOG)

    async def open_all(app: Sanic[Any, Any]) -> None:
        started = time.monotonic()
        async with signals.interrupting(lambda: _stop(app)):
            app.ctx.services = await stack.enter_async_context(services())
        app.ctx.seconds_to_start = time.monotonic() - started

    async def say_ready(app: Sanic[Any, Any]) -> None:
        if tell_ready is None:
            say_ready_on(settings, app.ctx.seconds_to_start)
        gc.collect()
        gc.freeze()  # what is there for good need not be looked through again and again
        for part, state in (await app.ctx.services.health.parts()).items():
            if state != OK:
                log.warning("Requests that need %s will fail: it %s", part, state)
        if tell_ready is not None:
            tell_ready()

    async def close_all(_: Sanic[Any, Any]) -> None:
        log.info("Stopping")
        await stack.aclose()
        log.info("Stopped")

    app.before_server_start(open_all)
    app.after_server_start(say_ready)
    app.after_server_stop(close_all)


def _add_traces(app: Sanic[Any, Any], settings: Settings) -> None:
    """Traces requests, with packages that only those install who want it."""
    try:
        from app.api.tracing import trace_requests  # noqa: PLC0415
        from app.otlp import Traces  # noqa: PLC0415
    except ImportError as error:
        message = (
            "LIKENESS_TRACES_URL is set, and the packages for traces are missing: run "
            "`.venv/bin/pip install -e '.[tracing]'`, or leave the setting empty."
        )
        raise OperatorError(message) from error
    traces = Traces(settings.traces_url, ratio=settings.traces_ratio, timeout=settings.shutdown_timeout)
    trace_requests(app, traces)

    async def open_traces(_: Sanic[Any, Any]) -> None:
        await traces.__aenter__()

    async def close_traces(_: Sanic[Any, Any]) -> None:
        await traces.__aexit__(None, None, None)

    app.before_server_start(open_traces)
    app.after_server_stop(close_traces)
