"""The options of ``likeness held`` and ``likeness purge``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.config import Settings

Say = Callable[[object], None]
Command = Callable[[argparse.Namespace, Settings], int]


def add_privacy_commands(commands: Any, say: Say) -> None:
    """Adds both commands.

    Args:
        commands: of the parser, as ``add_subparsers`` gives them.
        say: prints.
    """
    held = commands.add_parser("held", help="write all that the running service holds under an id or a tag to a file")
    held.add_argument("file", type=Path, metavar="FILE", help="file to write, JSON Lines")
    held.add_argument("--id", action="append", default=[], metavar="ID", dest="ids", help="id of an image; repeatable")
    held.add_argument("--tag", action="append", default=[], metavar="TAG", dest="tags", help="a tag; repeatable")
    held.add_argument("--force", action="store_true", help="replace a file that is there already")
    held.add_argument("--url", help="where the service is (default: as the settings say)")
    held.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the key to send")
    held.set_defaults(command=_held(say))

    purge = commands.add_parser(
        "purge", help="take what was deleted out of the files of Milvus, and look if it is gone"
    )
    purge.add_argument(
        "groups", nargs="*", metavar="GROUP", help="groups on a server (default: all); an embedded one is purged whole"
    )
    purge.add_argument("--family", choices=("face", "image"), default="face", help="kind of the groups (default: face)")
    purge.set_defaults(command=_purge(say))


def _held(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.commands.calibrate import service_url  # noqa: PLC0415
        from app.commands.held import HeldOrder, write_held  # noqa: PLC0415
        from app.commands.service import key_headers  # noqa: PLC0415

        url = options.url or service_url(settings)
        order = HeldOrder(url, options.file, options.ids, options.tags, options.force, key_headers(settings))
        write_held(order, say)
        return 0

    return command


def _purge(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.commands.purge import purge  # noqa: PLC0415

        return purge(settings, say, family=options.family, groups=options.groups)

    return command
