"""Web servers, resolvers and certificates that the fetching tests talk to, all on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

# Made for these tests; signs itself for the name photos.test.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJA1vAQt5m2rBBp4f
SNYACiBgwQvfg81VJ6kOJ+bfgzmhRANCAASMIbIkKUhFaQ79o3oYQDvtCZDCuA6T
uV60C/tafF6AnOHnkQ0VH47YsHKW4dWHm7b5Gm6SrD3L5B39NlZLrACy
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUd/dc/2nL5SVCrSXVQ+Ti8xMi8lkwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLcGhvdG9zLnRlc3QwIBcNMjYxMTIyMjM1MjI4WhgPMjEyNjEw
MjkyMzUyMjhaMBYxFDASBgNVBAMMC3Bob3Rvcy50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEjCGyJClIRWkO/aN6GEA77QmQwrgOk7letAv7WnxegJzh55EN
FR+O2LByluHVh5u2+Rpukqw9y+Qd/TZWS6wAsqNrMGkwHQYDVR0OBBYEFOTc0aps
bCzH1NyfKLKYc99S6bJSMB8GA1UdIwQYMBaAFOTc0apsbCzH1NyfKLKYc99S6bJS
MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILcGhvdG9zLnRlc3QwCgYIKoZI
zj0EAwIDSQAwRgIhAIz2llJ9nZoiMJXQJGkyWpHy+Fm7NLH4Pqoj/m7Zn8LGAiEA
rZlhpxSkTi9TF4eAxwkA8LIuJCtPLN/Bv6m8/iWwbhg=
-----END CERTIFICATE-----
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class NamedResolver(AbstractResolver):
    """Knows some names; counts how often it is asked."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self.names.get(host.partition(".")[0])
        if addresses is None:
            raise OSError("no such name")
        # Like a name server that changes its mind: the second answer is another one.
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return


@asynccontextmanager
async def serving(
    handler: Handler, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A server whose every path the handler answers; gives its port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, address, 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(talk: Talk, *, first: bytes = b"", address: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server that reads one request's head and then says whatever the test wants; gives its port.

    What is to come ``first`` is said as soon as somebody connects.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(first)
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def saying(text: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return talk


def tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side, and the side of a client that trusts it."""
    both = folder / "server.pem"
    both.write_text(KEY + CERTIFICATE)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return server, ssl.create_default_context(cadata=CERTIFICATE)
