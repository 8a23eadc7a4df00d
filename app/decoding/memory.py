"""Memory that the service and its decoders see: anonymous, without a name in any file system, of a size that stays."""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import BackendUnavailable

#: Memory larger than this, in bytes, is used once: a file, or pixels, that so much is done with that it counts little.
LARGEST_KEPT: Final = 8 * 1024 * 1024
# Sizes come in powers of two from here on, so that a few pieces serve all images.
_LEAST_BYTES: Final = 64 * 1024


class SharedBytes:
    """Some bytes of shared memory; memory is only taken for what is written.

    Args:
        size: in bytes.

    Raises:
        BackendUnavailable: no memory or no file descriptor is left.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = -1
        try:
            self.descriptor = os.memfd_create("likeness", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.descriptor, size)
            # The other side must not cut it: touching what is no longer there ends a process.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
            self.mapped = mmap.mmap(self.descriptor, size)
        except OSError as error:
            self.close()
            message = "There is no memory for the image at the moment: try again."
            raise BackendUnavailable(message) from error

    def close(self) -> None:
        """Lets go of the memory; arrays that lie in it keep it until they go."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        with suppress(AttributeError):
            del self.mapped


class SharedFile:
    """A file where decoders see it.

    Attributes:
        memory: holds it.
        size: in bytes.
    """

    def __init__(self, memory: SharedBytes, size: int) -> None:
        self.memory = memory
        self.size = size

    def fill(self, data: bytes) -> None:
        """Copies the file there."""
        self.memory.mapped[: self.size] = data


class SharedMemory:
    """Pieces of shared memory, kept for the next image where they are small.

    New memory is dear: at its first touch each page costs several microseconds in a virtual machine, which for a small
    photo's pixels is as much as decoding them.

    Args:
        kept_bytes: most bytes that are kept while nobody uses them.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._free: defaultdict[int, list[SharedBytes]] = defaultdict(list)
        self._free_bytes = 0

    def take(self, size: int) -> SharedBytes:
        """Memory of at least that size, with whatever was in it.

        Raises:
            BackendUnavailable: no memory or no file descriptor is left.
        """
        if size > LARGEST_KEPT:
            return SharedBytes(size)
        size = max(_LEAST_BYTES, 1 << (size - 1).bit_length())
        try:
            memory = self._free[size].pop()
        except IndexError:
            return SharedBytes(size)
        self._free_bytes -= size
        return memory

    def give_back(self, memory: SharedBytes) -> None:
        """Keeps memory that nobody uses any more, on either side, or lets it go."""
        if memory.size > LARGEST_KEPT or self._free_bytes + memory.size > self._kept_bytes:
            memory.close()
            return
        self._free_bytes += memory.size
        self._free[memory.size].append(memory)

    @contextmanager
    def file(self, size: int) -> Iterator[SharedFile]:
        """Room for a file of that size, until the block ends."""
        memory = self.take(max(size, 1))
        try:
            yield SharedFile(memory, size)
        finally:
            self.give_back(memory)

    def pixels(self, memory: SharedBytes, height: int, width: int) -> NDArray[np.uint8]:
        """What lies first in some memory as uint8 [H, W, 3]; the memory is given back when nobody has the array."""
        flat = np.frombuffer(memory.mapped, np.uint8, height * width * 3)
        flat.flags.writeable = False
        weakref.finalize(flat, self.give_back, memory).atexit = False
        return flat.reshape(height, width, 3)

    def close(self) -> None:
        """Lets go of all that is kept."""
        self._kept_bytes = 0
        for memories in self._free.values():
            for memory in memories:
                memory.close()
        self._free.clear()
        self._free_bytes = 0


class MappedMemory:
    """The decoder's side: mappings of memory that comes again and again.

    Args:
        most: mappings that are kept; those not used for longest go.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._mapped: OrderedDict[int, mmap.mmap] = OrderedDict()

    def of(self, descriptor: int) -> mmap.mmap:
        """The memory behind a descriptor, which may be closed then."""
        told = os.fstat(descriptor)
        if told.st_size > LARGEST_KEPT:
            return mmap.mmap(descriptor, told.st_size)
        mapped = self._mapped.get(told.st_ino)  # no other memory gets this number while it is mapped here
        if mapped is None:
            mapped = self._mapped[told.st_ino] = mmap.mmap(descriptor, told.st_size)
            if len(self._mapped) > self._most:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(told.st_ino)
        return mapped
