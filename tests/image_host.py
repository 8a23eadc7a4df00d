"""A web server of pictures on loopback that answers as slowly as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ImageHost:
    """Serves one picture at every path; ``/slow`` waits until ``release`` is set or the client leaves.

    ``/half`` sends half of it and then waits for ``release``.
    """

    def __init__(self, picture: bytes) -> None:
        self.release = threading.Event()
        self.asked = threading.Semaphore(0)
        self.left = threading.Semaphore(0)
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.release()
                if self.path == "/slow":
                    self.connection.settimeout(0.05)
                    while not host.release.is_set():
                        try:
                            if self.connection.recv(1) == b"":
                                host.left.release()
                                return
                        except TimeoutError:
                            continue
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(picture)))
                self.end_headers()
                self.wfile.write(picture[: len(picture) // 2])
                if self.path == "/half":
                    host.release.wait()
                self.wfile.write(picture[len(picture) // 2 :])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[ImageHost]:
        self._thread.start()
        try:
            yield self
        finally:
            self.release.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
