"""One tidy log on standard error."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_up_logging(level: str) -> None:
    """Sends every logger to standard error, libraries from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("likeness").setLevel(level.upper())
    # Sanic logs its own life at "info"; ours is told by "likeness".
    logging.getLogger("sanic").setLevel(logging.WARNING)
