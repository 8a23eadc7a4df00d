"""A decoder: a process that reads files from the service and gives pixels back, one at a time.

It is started by ``app.decoding.decoder`` with the service's end of a socket as its only open file, and ends with it.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys

import msgspec
import numpy as np

from app.decoding.confinement import DataLimit, confine, die_with
from app.decoding.memory import MappedMemory
from app.decoding.messages import MOST_BYTES, Answer, Failed, Image, Read, Ready, Refused
from app.errors import LikenessError
from app.vision.decode import read_header

#: Bytes of memory that a decoder may take beside those estimated for its image.
SLACK = 128 * 1024 * 1024
# Of the file, that readers of headers keep.
_COPIES = 4


def main() -> None:
    """Decodes until the service hangs up; the arguments are the socket, the service's pid and the most bytes."""
    number, parent, most = map(int, sys.argv[2:5])
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which may have images to finish
    limit = DataLimit(most, slack=SLACK)
    with socket.socket(fileno=number) as service:
        service.send(msgspec.json.encode(Ready(confine())))
        questions = msgspec.json.Decoder(Read)
        memory = MappedMemory()
        while True:
            message, descriptors, _, _ = socket.recv_fds(service, MOST_BYTES, 2)
            if not message:
                return
            try:
                question = questions.decode(message)
                limit.allow(max(question.memory, _COPIES * question.size))
                answer = _answer(question, *map(memory.of, descriptors))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            service.send(msgspec.json.encode(answer))


def _answer(question: Read, file: mmap.mmap, room: mmap.mmap) -> Answer:
    try:
        data = file[: question.size]
        header = read_header(data, max_pixels=question.max_pixels)
        rows, columns = question.form.size(header)
        if header.decoded_bytes > question.memory or rows * columns * 3 > len(room):
            rows = columns = 0
        else:
            pixels = question.form.decode(data, max_pixels=question.max_pixels)
            np.copyto(np.frombuffer(room, np.uint8, pixels.size).reshape(pixels.shape), pixels)
            rows, columns = pixels.shape[:2]
        return Image(header.format.value, header.width, header.height, header.decoded_bytes, rows, columns)
    except LikenessError as error:
        return Refused(error.code, error.message)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}"[: MOST_BYTES // 8])
