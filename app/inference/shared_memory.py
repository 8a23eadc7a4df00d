"""Memory that the service and a Triton on the same machine share, so that pixels need not travel through gRPC."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

_FOLDER = Path("/dev/shm")  # noqa: S108 (where POSIX keeps shared memory)
# Regions come in powers of two from here on, so that a few serve all shapes.
_LEAST_BYTES = 1 << 16
_PATIENCE_S = 5.0
_CLOSING_S = 0.5
_ABSENT = {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.DEADLINE_EXCEEDED"}


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Memory that Triton has mapped, too.

    Attributes:
        name: by which Triton knows it.
        size: in bytes.
        memory: the mapping.
    """

    name: str
    size: int
    memory: mmap.mmap

    def fill(self, array: NDArray[Any]) -> None:
        """Copies an array to its beginning."""
        room = np.frombuffer(self.memory, array.dtype, array.size).reshape(array.shape)
        np.copyto(room, array)


class SharedRegions:
    """Regions that calls to one server take in turns.

    A server on another machine, or in a container with memory of its own, cannot open them: that is found out at the
    first one, and then there are none. The name of a region goes as soon as both sides have mapped it, so nothing is
    left behind however either side ends.

    Args:
        client: the connection, a ``tritonclient.grpc.aio.InferenceServerClient``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._free: dict[int, list[Region]] = defaultdict(list)
        self._prefix = f"likeness-{secrets.token_hex(6)}"
        self._numbers = itertools.count()
        self._server = 0
        self._shared = _FOLDER.is_dir()
        self._registered: list[str] = []

    async def close(self) -> None:
        """Lets a server that goes on unmap them."""
        names, self._registered = self._registered, []
        self.forget()
        with contextlib.suppress(InferenceServerException, grpc.RpcError):
            for name in names:
                await self._client.unregister_system_shared_memory(name, client_timeout=_CLOSING_S)

    def forget(self) -> None:
        """After a lost connection: there may be another server, which has mapped none of them."""
        self._server += 1
        self._free.clear()
        self._registered.clear()
        self._shared = _FOLDER.is_dir()

    @asynccontextmanager
    async def holding(self, arrays: Iterable[NDArray[Any]]) -> AsyncIterator[list[Region] | None]:
        """Regions that hold the arrays until the block ends; None where the server shares no memory with us.

        A call that is given up may still be read by the server when its regions are filled anew. Its answer is thrown
        away, so nobody sees what came out of it.

        Raises:
            InferenceServerException, grpc.RpcError: the server does not answer.
        """
        server = self._server
        regions: list[Region] = []
        try:
            for array in arrays:
                region = await self._taken(array.nbytes)
                if region is None:
                    break
                regions.append(region)
                region.fill(array)
            else:
                yield regions
                return
            yield None
        finally:
            if server == self._server:
                for region in regions:
                    self._free[region.size].append(region)

    async def _taken(self, nbytes: int) -> Region | None:
        if not self._shared:
            return None
        size = max(_LEAST_BYTES, 1 << (nbytes - 1).bit_length())
        if self._free[size]:
            return self._free[size].pop()
        try:
            return await self._made(size)
        except OSError:
            self._shared = False  # no such memory, or none left
            return None

    async def _made(self, size: int) -> Region | None:
        name = f"{self._prefix}-{next(self._numbers)}"
        path = _FOLDER / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap.mmap(descriptor, size)
            await self._client.register_system_shared_memory(name, f"/{name}", size, client_timeout=_PATIENCE_S)
        except (InferenceServerException, grpc.RpcError) as error:
            if _status(error) in _ABSENT:
                raise
            self._shared = False  # it answers, and cannot open it
            return None
        finally:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
        self._registered.append(name)
        return Region(name, size, memory)


def _status(error: InferenceServerException | grpc.RpcError) -> str:
    return str(error.status()) if isinstance(error, InferenceServerException) else str(getattr(error, "code", str)())
