"""All Triton servers: each batch goes to one that serves the same model as the others and has least work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from app.errors import BackendUnavailable, DeadlineExceeded, InternalError
from app.inference.addresses import Address, entries, resolved, unique
from app.inference.client import Arrays, ServerFault
from app.inference.identity import Told, difference
from app.inference.server import Replica, TritonServer

# Names are asked anew after so long: about as long as a cluster's own name server keeps an answer.
_RESOLVE_EVERY_S = 10.0
_READ_TIMEOUT_S = 5.0
# Where there are others, the next one is asked rather than waited for this one.
_READ_TIMEOUT_AMONG_OTHERS_S = 2.0
# After so long without a server of the model in use another model is taken, where some servers are still missing.
_ANOTHER_AFTER_S = 10.0


class ModelReplaced(Exception):
    """The model in use is no longer the one that a batch was made for."""


class TritonServers:
    """Spreads batches over servers, and takes them to another one when one fails.

    A process knows exactly what it gave each server to do: so the one with least work is chosen, rather than the better
    of two at random, which is for many clients that hear of each other's work late and would all choose alike.

    A model is the same on all servers that get work. The first look at all of them decides which: the one that most
    serve, and the first one's in the list where as many serve another. It stays until no server has it any more.

    Args:
        urls: entries as in the setting, separated by commas.
        models: names of the models that they shall serve.
        timeout: seconds that one inference may take.
    """

    def __init__(self, urls: str, models: Sequence[str], *, timeout: float) -> None:
        self._entries = entries(urls)
        self._models = models
        self._timeout = timeout
        self._servers: dict[str, TritonServer] = {}
        self._in_use: dict[str, Told] = {}
        self._seen_at: dict[str, float] = {}
        self._decided = asyncio.Event()
        self._choice = 0
        self._chosen: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._told: dict[str, str] = {}
        self._resolver: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._log = logging.getLogger("likeness.triton")

    async def __aenter__(self) -> Self:
        await self._admit(unique(entry.address(entry.host) for entry in self._entries if not entry.several))
        if any(entry.several for entry in self._entries):
            self._resolver = asyncio.create_task(self._resolve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = [*self._retiring] if self._resolver is None else [self._resolver, *self._retiring]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        for server in self._servers.values():
            await server.__aexit__(None, None, None)

    @property
    def servers(self) -> Sequence[TritonServer]:
        """Those known at this moment."""
        return tuple(self._servers.values())

    def slots(self, model: str, in_flight: int) -> int:
        """Batches of a model that may be at work together; ``in_flight`` as of ``Replica.slots``, for each server."""
        servers = self.servers
        serving = servers
        if len(servers) > 1:
            serving = tuple(server for server in servers if server.serves(model)) or servers
        return max(1, sum(server.replicas[model].slots(in_flight) for server in serving))

    async def told(self, model: str) -> Told:
        """What the model in use says of itself, heard a moment ago.

        Raises:
            BackendUnavailable: no server serves it.
        """
        await self._pick(model, set())
        return self._in_use[model]

    def told_lately(self, model: str) -> Told | None:
        """The same, where nobody has to be asked for it; else None."""
        server = self._least_busy(model, frozenset()) if self._decided.is_set() else None
        return self._in_use[model] if server is not None and server.replicas[model].is_fresh else None

    async def ready(self, model: str, *, timeout: float) -> bool:
        """Whether some server serves the model at this moment."""
        asked = [server for server in self.servers if server.serves(model)]
        # One that came back a moment ago may not have been looked at since.
        asked = asked or [server for server in self.servers if not server.differs]
        answers = [asyncio.create_task(server.answers(model, timeout=timeout)) for server in asked]
        try:
            for answer in asyncio.as_completed(answers):
                if await answer:
                    return True
            return False
        finally:
            for task in answers:
                task.cancel()

    async def infer(
        self, model: str, made_for: Told, inputs: Arrays, outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Runs one batch on some server; where it fails, on each of the others in turn.

        Raises:
            ModelReplaced: the model in use is another one than ``made_for``.
            BackendUnavailable: no server answers.
            DeadlineExceeded: the call took longer than the timeout on all of them.
            InternalError: the model refused the batch.
        """
        failed: set[Replica] = set()
        while True:
            server = await self._pick(model, failed)
            if self._in_use[model].identity != made_for.identity:
                raise ModelReplaced
            self._choice += 1
            self._chosen[server.address] = self._choice
            replica = server.replicas[model]
            try:
                return await replica.run(inputs, outputs)
            except (BackendUnavailable, DeadlineExceeded, ServerFault) as error:
                failed.add(replica)
                server.look_soon()
                self._relieve()
                if next(self._candidates(model, failed), None) is not None:
                    continue
                if isinstance(error, ServerFault):
                    raise InternalError(str(error)) from error.__cause__
                raise

    async def _pick(self, model: str, failed: set[Replica]) -> TritonServer:
        await self._decided.wait()
        while True:
            server = self._least_busy(model, failed)
            if server is None:
                for known in self.servers:
                    known.look_soon()
                message = f"The model {model} is not available at the moment: try again later."
                raise BackendUnavailable(message)
            replica = server.replicas[model]
            if replica.is_fresh:
                return server
            alone = len(self._servers) == 1
            try:
                await replica.refresh(timeout=_READ_TIMEOUT_S if alone else _READ_TIMEOUT_AMONG_OTHERS_S)
            except (BackendUnavailable, DeadlineExceeded):
                failed.add(replica)
                server.look_soon()
            self._settle_and_tell()

    def _candidates(self, model: str, failed: Set[Replica]) -> Iterator[TritonServer]:
        if model not in self._in_use:
            return
        for server in self.servers:
            if server.serves(model) and server.replicas[model] not in failed:
                yield server

    def _least_busy(self, model: str, failed: Set[Replica]) -> TritonServer | None:
        candidates = list(self._candidates(model, failed))
        if len(candidates) <= 1:  # the usual case, and this is asked several times for each image
            return candidates[0] if candidates else None
        # Where all of them failed lately, one of those is still better than none.
        candidates = [server for server in candidates if server.replicas[model].takes_work] or candidates

        def work(server: TritonServer) -> tuple[float, int, int]:
            # Of the same model, for its size; then in all, for its models share a machine; then by turns.
            replica = server.replicas[model]
            return replica.in_flight / replica.slots(0), server.in_flight, self._chosen.get(server.address, 0)

        return min(candidates, key=work, default=None)

    async def _admit(self, addresses: Sequence[Address]) -> None:
        for address in addresses:
            server = TritonServer(
                address, self._models, timeout=self._timeout, looked=self._looked, may_eject=self._has_others
            )
            self._servers[address.grpc] = await server.__aenter__()

    def _has_others(self, server: TritonServer) -> bool:
        return any(other.reachable and not other.differs for other in self.servers if other is not server)

    def _looked(self, _: TritonServer) -> None:
        self._settle_and_tell()
        if all(server.reachable is not None for server in self.servers):
            self._decided.set()

    def _settle_and_tell(self) -> None:
        self._settle()
        for server in self.servers:
            if server.reachable is not None and self._told.get(server.address, "") != server.problem:
                self._tell(server)

    def _tell(self, server: TritonServer) -> None:
        before = self._told.get(server.address)
        self._told[server.address] = problem = server.problem
        if server.differs:
            self._log.error("The Triton at %s %s: it is left out", server.address, problem)
        elif problem:
            self._log.warning("The Triton at %s %s", server.address, problem)
        elif before:
            self._log.warning("The Triton at %s is at work again", server.address)

    def _settle(self) -> None:
        """Decides which model is in use, and who serves another one."""
        for model in self._models:
            self._choose(model)
        for server in self.servers:
            server.differs = next(filter(None, (self._differs(server, model) for model in self._models)), "")
        self._relieve()

    def _choose(self, model: str) -> None:
        heard = {server: server.replicas[model].told for server in self.servers if server.reachable}
        serving = {server: told for server, told in heard.items() if told is not None}
        in_use, now = self._in_use.get(model), time.monotonic()
        same = [told for told in serving.values() if in_use is not None and told.identity == in_use.identity]
        if same:
            self._in_use[model], self._seen_at[model] = same[0], now
            return
        missing = len(serving) < len(self._servers)
        looked = all(server.reachable is not None for server in self.servers)
        waits = not looked if in_use is None else missing and now - self._seen_at[model] < _ANOTHER_AFTER_S
        if not serving or waits:
            return
        (identity, _), *_ = Counter(told.identity for told in serving.values()).most_common()
        self._in_use[model] = next(told for told in serving.values() if told.identity == identity)
        self._seen_at[model] = now

    def _differs(self, server: TritonServer, model: str) -> str:
        told, in_use = server.replicas[model].told, self._in_use.get(model)
        if told is None or in_use is None or told.identity == in_use.identity:
            return ""
        return f"serves another {model} than the one in use ({difference(told, in_use)})"

    def _relieve(self) -> None:
        """Takes the batches of servers that do not answer to others, where there are any."""
        for model in self._models:
            if not any(server.replicas[model].takes_work for server in self._candidates(model, set())):
                continue
            for server in self.servers:
                replica = server.replicas[model]
                if replica.in_flight and (not server.reachable or replica.is_resting):
                    replica.take_work_away()

    async def _resolve(self) -> None:
        while True:
            addresses: list[Address] = []
            known = True
            for entry in self._entries:
                try:
                    addresses += await resolved(entry)
                    self._unknown.discard(entry.text)
                except (OSError, UnicodeError) as error:
                    known = False
                    if entry.text not in self._unknown:
                        self._unknown.add(entry.text)
                        reason = " ".join(str(error).split()) or "no answer in time"
                        self._log.error("The name %s of Triton servers cannot be resolved: %s", entry.host, reason)
            wanted = unique(addresses)
            await self._admit([address for address in wanted if address.grpc not in self._servers])
            # Of a name that cannot be resolved now, and of one without addresses, the servers are kept.
            here = {address.grpc for address in wanted}
            for address in [*self._servers] if known and wanted else []:
                if address not in here:
                    self._retire(self._servers.pop(address))
            if not self._servers:
                self._decided.set()
            await asyncio.sleep(_RESOLVE_EVERY_S)

    def _retire(self, server: TritonServer) -> None:
        self._told.pop(server.address, None)
        self._chosen.pop(server.address, None)
        self._log.warning("The Triton at %s is no longer among the addresses of its name", server.address)

        async def end() -> None:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._timeout):
                        while server.in_flight:
                            await asyncio.sleep(0.1)
            finally:
                await server.__aexit__(None, None, None)

        task = asyncio.create_task(end())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
