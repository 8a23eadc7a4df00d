"""``likeness export`` and ``likeness restore``: a group of the running service to a file, and back."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path

import aiohttp
import msgspec

from app.api.group_file import GroupFileHeader, GroupFileReader
from app.api.portability import Restored
from app.commands.progress import Progress, progress_text
from app.commands.service import Reply, Service, Unanswered, group_path, open_service
from app.commands.whole_file import whole_file
from app.errors import InvalidRequest, OperatorError

_CHUNK = 1 << 18
_READ_TIMEOUT_S = 120  # between two pieces of an export, or from the end of a file to the answer


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """What the operator wants.

    Attributes:
        url: where the service is.
        file: of the group; compressed where its name ends in ``.gz``.
        group: name of the group; empty for that which the file tells.
        family: ``face`` or ``image``; empty for that which the file tells.
        force: whether a file that is there is replaced.
        headers: of all requests.
    """

    url: str
    file: Path
    group: str = ""
    family: str = ""
    force: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def export(order: TransferOrder, say: Callable[[object], None]) -> None:
    """Writes a group to a file, which appears only once it is whole.

    Raises:
        OperatorError: the service answers an error or breaks off, or the file cannot be written.
    """
    with whole_file(order.file, force=order.force) as raw:
        if order.file.suffix == ".gz":
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                count = asyncio.run(_export(order, packed))
        else:
            count = asyncio.run(_export(order, raw))
    say(f"{order.group}: {count:,} images with their embeddings are in {order.file}.")


def restore(order: TransferOrder, say: Callable[[object], None]) -> None:
    """Makes a group of a file; what is wrong with the file is found before anything is sent.

    Raises:
        OperatorError: the file is damaged, the group exists, or the service answers another error.
    """
    try:
        with _opened(order.file) as file:
            header, count = asyncio.run(_checked(file))
        if order.family and order.family != header.family:
            raise OperatorError(f"{order.file} holds a group of the family {header.family}, not {order.family}.")
        group = order.group or header.name
        with _opened(order.file) as file:
            restored = asyncio.run(_restore(order, header.family, group, file, count))
    except OSError as error:
        message = f"{order.file} cannot be read ({(error.strerror or str(error)).lower()})."
        raise OperatorError(message) from error
    except (EOFError, zlib.error) as error:
        raise OperatorError(f"{order.file} is cut or damaged: it cannot be unpacked.") from error
    except InvalidRequest as error:
        raise OperatorError(f"{order.file}: {error.message}") from error
    say(f"{group}: {restored:,} images with their embeddings are restored.")


async def _export(order: TransferOrder, out: BufferedIOBase) -> int:
    """Writes the answer, and reads it as it goes by: the number of its rows."""
    async with open_service(order.url, connections=1, read_timeout_s=_READ_TIMEOUT_S, headers=order.headers) as service:
        try:
            async with service.answer("GET", f"{group_path(order.family, order.group)}/export") as response:
                if response.status != 200:
                    raise OperatorError(Reply(response.status, await response.read()).error.error)

                async def chunks() -> AsyncIterator[bytes]:
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        out.write(chunk)
                        yield chunk

                _, count = await _read(GroupFileReader(chunks()))
                return count
        except Unanswered as error:
            raise service.nobody from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OperatorError("The service broke off in the middle of the export: run the command again.") from error
        except InvalidRequest as error:
            raise OperatorError(f"What came is not whole: {error.message}") from error


async def _checked(file: BufferedIOBase) -> tuple[GroupFileHeader, int]:
    return await _read(GroupFileReader(_chunks(file)))


async def _read(reader: GroupFileReader) -> tuple[GroupFileHeader, int]:
    header = await reader.header()
    progress = Progress()
    clock = asyncio.get_running_loop().time
    started, count = clock(), 0
    async for _ in reader.records():
        count += 1
        if count % 1000 == 0:
            progress.show(progress_text(count, max(count, header.count), 0, clock() - started))
    progress.clear()
    return header, count


async def _restore(order: TransferOrder, family: str, group: str, file: BufferedIOBase, total: int) -> int:
    path = group_path(family, group)
    async with open_service(order.url, connections=1, read_timeout_s=_READ_TIMEOUT_S, headers=order.headers) as service:
        try:
            # Before a large file is on its way; the service checks it again.
            reply = await service.call("GET", path)
            if reply.status == 200:
                raise OperatorError(f"There is already a group {group!r}: remove it, or name another with --group.")
            if reply.status != 404 or reply.error.code != "group_not_found":
                raise OperatorError(reply.error.error)
            async with service.answer("POST", f"{path}/restore", _told(file, total)) as response:
                reply = Reply(response.status, await response.read())
        except (Unanswered, aiohttp.ClientError, TimeoutError) as error:
            raise _broken_off(service, error) from error
        if reply.status != 200:
            raise OperatorError(reply.error.error)
        return msgspec.json.decode(reply.content, type=Restored).count


def _broken_off(service: Service, error: Exception) -> OperatorError:
    if isinstance(error.__cause__, aiohttp.ClientConnectorError):
        return service.nobody
    return OperatorError("The service broke off: the group is there whole or not at all, so run the command again.")


async def _told(file: BufferedIOBase, total: int) -> AsyncIterator[bytes]:
    """The file's chunks; tells how far they are."""
    progress = Progress()
    clock = asyncio.get_running_loop().time
    started, lines = clock(), 0
    async for chunk in _chunks(file):
        yield chunk
        lines += chunk.count(b"\n")
        progress.show(progress_text(min(lines, total), total, 0, clock() - started))
    progress.clear()


async def _chunks(file: BufferedIOBase) -> AsyncIterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _opened(file: Path) -> BufferedIOBase:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")
