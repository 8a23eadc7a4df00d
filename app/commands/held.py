"""``likeness held``: writes all that the running service holds under ids or tags to a file."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

import aiohttp
import msgspec

from app.api.group_file import GroupFileEnd
from app.api.held import ExportHeld, HeldHeader
from app.api.lines import lines
from app.commands.service import Reply, Unanswered, open_service
from app.commands.whole_file import whole_file
from app.errors import DamagedFile, InvalidRequest, OperatorError

_READ_TIMEOUT_S = 600  # between two pieces: groups in which nothing is found are silent
_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class HeldOrder:
    """What the operator wants.

    Attributes:
        url: where the service is.
        file: to write.
        ids: of images.
        tags: of images.
        force: whether a file that is there is replaced.
        headers: of all requests.
    """

    url: str
    file: Path
    ids: Sequence[str]
    tags: Sequence[str]
    force: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def write_held(order: HeldOrder, say: Callable[[object], None]) -> None:
    """Writes the file, which appears only once it is whole; nobody but its owner can read it.

    Raises:
        OperatorError: the service answers an error or breaks off, or the file cannot be written.
    """
    with whole_file(order.file, force=order.force, mode=0o600) as out:
        groups, count = asyncio.run(_write(order, out))
    say(f"{count:,} images in {groups:,} groups that were looked through: they are in {order.file}.")


async def _write(order: HeldOrder, out: BufferedWriter) -> tuple[int, int]:
    body = msgspec.json.encode(ExportHeld(ids=list(order.ids), tags=list(order.tags)))
    async with open_service(order.url, connections=1, read_timeout_s=_READ_TIMEOUT_S, headers=order.headers) as service:
        try:
            async with service.answer("POST", "/v1/export", body) as response:
                if response.status != 200:
                    raise OperatorError(Reply(response.status, await response.read()).error.error)
                return await _checked(response, out)
        except Unanswered as error:
            raise service.nobody from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OperatorError("The service broke off in the middle: run the command again.") from error
        except (InvalidRequest, msgspec.MsgspecError) as error:
            raise OperatorError("What came is not whole: run the command again.") from error


async def _checked(response: aiohttp.ClientResponse, out: BufferedWriter) -> tuple[int, int]:
    """Writes the answer; the number of groups and that of images, once its last line has vouched for the others."""
    digest, count = hashlib.sha256(), -1
    header: HeldHeader | None = None
    last = b""
    too_long = DamagedFile("A line is longer than an image can be.")
    async for line in lines(response.content.iter_chunked(_CHUNK), longest=_LONGEST_LINE, too_long=too_long):
        out.write(line)
        if header is None:
            header = msgspec.json.decode(line, type=HeldHeader)
        digest.update(last)
        last = line
        count += 1
    end = msgspec.json.decode(last, type=GroupFileEnd)
    if header is None or end.rows != count - 1 or end.sha256 != digest.hexdigest():
        raise DamagedFile("Its checksum is not that of its lines.")
    return header.groups, end.rows
