"""The Sanic application: routes, errors, documentation, and the life of the services around it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from prometheus_client import CollectorRegistry
from sanic import Sanic

from app import __version__
from app.api.docs import add_documentation
from app.api.error_handler import OneShapeErrors
from app.api.exchanges import Exchanges
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


def create_app(settings: Settings, signals: StopSignals, *, name: str = "likeness") -> Sanic[Any, Any]:
    """Makes the application; its services open when the server starts and close when it stops or is told to."""
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
    exchanges = Exchanges(metrics.requests)
    exchanges.watch(app)
    router = Router(settings, exchanges, metrics)
    router.add(app, operations)
    page.before_each(router.sample)
    add_documentation(app, operations)
    _add_life(app, signals, lambda: open_services(settings, metrics, page), settings)
    return app


def serve(settings: Settings, signals: StopSignals) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
        OperatorError: the service cannot start; the sentence says what to do.
    """
    listener = _bind(settings)
    app = create_app(settings, signals)
    # One process: the embedded engines belong to it. (Sanic's process manager also hangs on a SIGTERM that comes
    # right after readiness.)
    try:
        app.run(sock=listener, single_process=True, register_sys_signals=False, motd=False, access_log=False)
    except StartInterrupted:
        logging.getLogger(_LOG).info("Stopped")
    finally:
        listener.close()


def _not_told_twice(record: logging.LogRecord) -> bool:
    """Keeps out a traceback of what the command line tells in one sentence, and advice that does not apply."""
    if "PRODUCTION mode" in record.getMessage():
        return False  # it advises options of Sanic's own command
    return not (record.exc_info and isinstance(record.exc_info[1], OperatorError))


def _bind(settings: Settings) -> socket.socket:
    """Takes the port before anything slow is started."""
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


def _stop(app: Sanic[Any, Any]) -> None:
    """Ends serving, once it has begun: Sanic's loop must not be stopped while it runs the listeners of the start."""
    if app.state.is_running:
        app.stop()
    else:
        asyncio.get_running_loop().call_later(0.01, _stop, app)


def _add_life(
    app: Sanic[Any, Any],
    signals: StopSignals,
    services: Callable[[], AbstractAsyncContextManager[Services]],
    settings: Settings,
) -> None:
    stack = AsyncExitStack()
    log = logging.getLogger(_LOG)

    async def open_all(app: Sanic[Any, Any]) -> None:
        started = time.monotonic()
        async with signals.interrupting(lambda: _stop(app)):
            app.ctx.services = await stack.enter_async_context(services())
        app.ctx.seconds_to_start = time.monotonic() - started

    async def tell_ready(app: Sanic[Any, Any]) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{settings.port}"
        log.info("Likeness %s is ready on %s after %.1f s", __version__, url, app.ctx.seconds_to_start)
        for part, state in (await app.ctx.services.health.parts()).items():
            if state != OK:
                log.warning("Requests that need %s will fail: it %s", part, state)
        log.info("API documentation: %s/docs", url)

    async def close_all(_: Sanic[Any, Any]) -> None:
        log.info("Stopping")
        await stack.aclose()
        log.info("Stopped")

    app.before_server_start(open_all)
    app.after_server_start(tell_ready)
    app.after_server_stop(close_all)
