"""The options of ``likeness keys`` and ``likeness audit``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.config import Settings

# The roles, written out: to show the help nothing is imported that is slow.
_ROLES = ("read", "write", "admin")

Say = Callable[[object], None]


def add_key_commands(commands: Any, say: Say) -> None:
    """Adds both commands.

    Args:
        commands: of the parser, as ``add_subparsers`` gives them.
        say: prints.
    """
    keys = commands.add_parser("keys", help="make, list, revoke and rotate the keys of callers")
    actions = keys.add_subparsers(required=True, metavar="ACTION")

    create = actions.add_parser("create", help="make a key; its secret is shown once")
    create.add_argument("name", metavar="NAME", help="who is going to have it")
    create.add_argument("--role", choices=_ROLES, default="read", help="what it may do (default: read)")
    create.add_argument(
        "--group",
        action="append",
        metavar="PATTERN",
        help="groups it is for, as 'face/staff-*'; repeatable, '*' is all",
    )
    create.add_argument(
        "--expires", default="", metavar="TIME", help="after how long it stops, as 90d (default: never)"
    )
    create.add_argument("--rate", type=float, metavar="N", help="requests a second (default: LIKENESS_KEY_RATE)")
    create.add_argument(
        "--parallel", type=int, metavar="N", help="requests at the same time (default: LIKENESS_KEY_REQUESTS)"
    )
    create.set_defaults(command=_create(say))

    actions.add_parser("list", help="show the keys, without their secrets").set_defaults(command=_list(say))
    revoke = actions.add_parser("revoke", help="stop a key for good")
    revoke.add_argument("id", metavar="ID", help="as `likeness keys list` shows it")
    revoke.set_defaults(command=_revoke(say))
    rotate = actions.add_parser("rotate", help="give a key a new secret, shown once")
    rotate.add_argument("id", metavar="ID", help="as `likeness keys list` shows it")
    rotate.add_argument(
        "--grace", default="", metavar="TIME", help="how long the old one goes on, as 1h (default: not)"
    )
    rotate.set_defaults(command=_rotate(say))

    audit = commands.add_parser("audit", help="show what the audit log says")
    audit.add_argument("--key", default="", metavar="ID", help="of this key only")
    audit.add_argument("--group", default="", metavar="NAME", help="of this group only")
    audit.add_argument("--image", default="", metavar="ID", help="of the image of this id only")
    audit.add_argument(
        "--receipt", type=Path, metavar="FILE", help="tell whether a receipt of a deletion is genuine, and its lines"
    )
    audit.set_defaults(command=_audit(say))


Command = Callable[[argparse.Namespace, Settings], int]


def _create(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.access.key import KeyRole  # noqa: PLC0415
        from app.commands.keys import KeyOrder, create_key  # noqa: PLC0415

        groups = options.group or ["*"]
        order = KeyOrder(options.name, KeyRole(options.role), groups, options.expires, options.rate, options.parallel)
        create_key(order, settings, say)
        return 0

    return command


def _list(say: Say) -> Command:
    def command(_: argparse.Namespace, settings: Settings) -> int:
        from app.commands.keys import list_keys  # noqa: PLC0415

        list_keys(settings, say)
        return 0

    return command


def _revoke(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.commands.keys import revoke_key  # noqa: PLC0415

        revoke_key(options.id, settings, say)
        return 0

    return command


def _rotate(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.commands.keys import rotate_key  # noqa: PLC0415

        rotate_key(options.id, options.grace, settings, say)
        return 0

    return command


def _audit(say: Say) -> Command:
    def command(options: argparse.Namespace, settings: Settings) -> int:
        from app.commands.audit import check_receipt, show_audit  # noqa: PLC0415

        if options.receipt is not None:
            return check_receipt(settings, say, options.receipt, image=options.image)
        show_audit(settings, say, key=options.key, group=options.group, image=options.image)
        return 0

    return command
