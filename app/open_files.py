"""How many files and connections this process may have open."""

from __future__ import annotations

import logging
import resource

# For all that is no client's connection: engines, pieces of memory for decoders, files of imports and logs, programs
# being started.
_OTHERS = 384
_LEAST = 8


def raise_limit() -> None:
    """Takes as many as the system lets this user have: shells give out 1,024 as a habit of old."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            logging.getLogger("likeness").info("The limit on open files stays at %d (%s)", soft, error)


def connections(most: int, *, outward: int) -> int:
    """How many of the wanted connections of clients there is room for, so that all else has room always.

    Args:
        most: those that are wanted.
        outward: connections that this process itself may open to others.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    room = max(_LEAST, soft - _OTHERS - outward)
    if room < most:
        logging.getLogger("likeness").warning(
            "Only %d connections of clients are served at once, not %d: no more than %d files can be open here. Raise "
            "the limit (`ulimit -n`, LimitNOFILE of systemd), or lower LIKENESS_MAX_CONNECTIONS.",
            room,
            most,
            soft,
        )
    return min(most, room)
