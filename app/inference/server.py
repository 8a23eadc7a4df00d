"""One Triton server among others: whether it answers, what it serves, and how much work it has."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from app.errors import BackendUnavailable, DeadlineExceeded, InternalError
from app.inference.addresses import Address
from app.inference.client import Arrays, ServerFault, TritonClient
from app.inference.identity import Told, told

_CHECK_EVERY_S = 1.0
_CHECK_TIMEOUT_S = 2.0
# A check that is late may be the machine's fault; that two are in a row is the server's.
_LATE_CHECKS = 2
# A server that is away is looked for less and less often, but no less than this; and never more often than that.
_SELDOM_S = 2.0
_OFTEN_S = 0.1
# A model that failed to answer gets nothing for so long, doubled each time, then one batch on trial.
_FIRST_REST_S = 0.5
_LONGEST_REST_S = 30.0
# A model that is reloaded under a connection that stays is noticed after so long. The checks come a little before it.
_TOLD_AGE_S = 5.0
_CHECKED_AGE_S = 3.5


class Replica:
    """One model on one server.

    Attributes:
        model: its name in the model repository.
        serving: whether it was ready when the server was last looked at.
        in_flight: batches at work.
        answered: batches that it answered so far.
        failed: batches that it failed to answer, or that were taken from it, so far.
    """

    def __init__(self, model: str, client: TritonClient) -> None:
        self.model = model
        self.serving = False
        self.in_flight = 0
        self.answered = 0
        self.failed = 0
        self._client = client
        self._reading = asyncio.Lock()
        self._reads_failed = 0
        self._told: Told | None = None
        self._losses = -1
        self._read_at = -math.inf
        self._on_trial = False
        self._rests = 0
        self._rests_until = -math.inf
        self._calls: set[asyncio.Task[dict[str, NDArray[Any]]]] = set()
        self._taken: set[asyncio.Task[dict[str, NDArray[Any]]]] = set()

    @property
    def told(self) -> Told | None:
        """What the server says of the model; None where it may be another server's word, behind a new connection."""
        return self._told if self._losses == self._client.losses else None

    @property
    def is_fresh(self) -> bool:
        """Whether that was heard a moment ago."""
        return self._is_younger(_TOLD_AGE_S)

    @property
    def is_resting(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self._rests_until

    @property
    def takes_work(self) -> bool:
        """Whether it does not rest, and is not busy with the one batch that it is on trial with."""
        return not self.is_resting and not (self._on_trial and self.in_flight)

    def slots(self, in_flight: int) -> int:
        """How many batches it may have at work; ``in_flight`` 0 is one more than it has instances."""
        return in_flight or (self._told.instances if self._told is not None else 1) + 1

    def put_on_trial(self) -> None:
        """After it was away: one batch at a time until one is answered."""
        self._on_trial = True

    async def refresh(self, *, timeout: float) -> None:
        """As ``read``, where that was not done lately; many who wait for it ask once, also where that fails."""
        failed = self._reads_failed
        async with self._reading:
            if self.is_fresh:
                return
            if failed != self._reads_failed:
                message = f"The model {self.model} is not available at the moment: try again later."
                raise BackendUnavailable(message)
            try:
                await self.read(timeout=timeout)
            except (BackendUnavailable, DeadlineExceeded):
                self._reads_failed += 1
                raise

    async def read(self, *, timeout: float) -> None:
        """Asks the server what the model is.

        Raises:
            BackendUnavailable: the server or the model does not answer.
            DeadlineExceeded: it took longer than the timeout.
        """
        losses = self._client.losses
        try:
            config, versions = await asyncio.gather(
                self._client.config(self.model, timeout=timeout), self._client.versions(self.model, timeout=timeout)
            )
        except (InternalError, ServerFault) as error:  # Triton's word for a model that is not loaded
            message = f"The model {self.model} is not available at the moment: try again later."
            raise BackendUnavailable(message) from error
        self._told = told(config, versions)
        self._losses = losses
        self._read_at = time.monotonic()

    async def look(self, *, timeout: float) -> None:
        """Asks whether the server serves the model, and what it is where that was not heard lately.

        Raises:
            BackendUnavailable: the server does not answer.
            DeadlineExceeded: it took longer than the timeout.
        """
        self.serving = await self._client.serving(self.model, timeout=timeout)
        if self.serving and not self._is_younger(_CHECKED_AGE_S):
            try:
                await self.read(timeout=timeout)
            except BackendUnavailable:  # the model has just gone; where the server has, the next look finds out
                self.serving = False

    async def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Raises:
            BackendUnavailable: the server or the model does not answer, or the batch was taken from it.
            DeadlineExceeded: the call took longer than it may.
            ServerFault: the server failed in some other way.
            InternalError: the model refused the batch.
        """
        call = asyncio.create_task(self._infer(inputs, outputs))
        self._calls.add(call)
        self.in_flight += 1
        try:
            arrays = await call
        except asyncio.CancelledError:
            call.cancel()
            caller = asyncio.current_task()
            if call not in self._taken or (caller is not None and caller.cancelling()):
                raise
            self.failed += 1
            message = f"The model {self.model} does not answer: try again later."
            raise BackendUnavailable(message) from None
        except (BackendUnavailable, DeadlineExceeded, ServerFault):
            self.failed += 1
            self._read_at = -math.inf
            self._rest()
            raise
        else:
            self.answered += 1
            self._on_trial = False
            self._rests = 0
            return arrays
        finally:
            self.in_flight -= 1
            self._calls.discard(call)
            self._taken.discard(call)

    async def _infer(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        losses = self._client.losses
        echoes = self._told is not None and self._told.echoes
        arrays = await self._client.infer(self.model, inputs, outputs, echoes=echoes)
        if losses != self._client.losses:
            # Another server may have answered, with another model.
            message = f"The connection to the model {self.model} was lost: try again."
            raise BackendUnavailable(message)
        return arrays

    def take_work_away(self) -> None:
        """Ends all batches at work, so that others can do them."""
        for call in self._calls - self._taken:
            self._taken.add(call)
            call.cancel()

    def _rest(self) -> None:
        if self.is_resting:
            return  # the batches that were at work together fail together, for one reason
        self._on_trial = True
        self._rests_until = time.monotonic() + min(_FIRST_REST_S * 2**self._rests, _LONGEST_REST_S)
        self._rests = min(self._rests + 1, 10)

    def _is_younger(self, seconds: float) -> bool:
        return self.told is not None and time.monotonic() - self._read_at < seconds


class TritonServer:
    """Keeps a connection to one server and looks at it every second.

    Attributes:
        address: ``host:port`` of the gRPC endpoint.
        reachable: whether it answers; None before it was looked at.
        replicas: its models by name.
        differs: where it serves another model than the others, in what; empty where it does not.
        ejections: how often it stopped answering so far.

    Args:
        address: where it is.
        models: names of the models that it is asked for.
        timeout: seconds that one inference may take.
        looked: called after each look.
        may_eject: whether it can be spared: a server that is merely slow is no loss only then.
    """

    def __init__(
        self,
        address: Address,
        models: Sequence[str],
        *,
        timeout: float,
        looked: Callable[[TritonServer], None],
        may_eject: Callable[[TritonServer], bool],
    ) -> None:
        self.address = address.grpc
        self.reachable: bool | None = None
        self.differs = ""
        self.ejections = 0
        self._client = TritonClient(address, timeout=timeout)
        self.replicas = {model: Replica(model, self._client) for model in models}
        self._looked = looked
        self._may_eject = may_eject
        self._late = 0
        self._missed = 0
        self._wake = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await self._client.__aexit__(kind, error, trace)

    @property
    def in_flight(self) -> int:
        """Batches at work, of all its models."""
        return sum(replica.in_flight for replica in self.replicas.values())

    @property
    def problem(self) -> str:
        """What keeps it from work, as the end of a sentence; empty where nothing does."""
        if not self.reachable:
            return "does not answer"
        if self.differs:
            return self.differs
        missing = [name for name, replica in self.replicas.items() if not replica.serving]
        return f"does not serve {', '.join(missing)}" if missing else ""

    def serves(self, model: str) -> bool:
        """Whether it answers, serves the model, and the same as the others."""
        return bool(self.reachable) and not self.differs and self.replicas[model].serving

    def look_soon(self) -> None:
        """Looks at it now rather than when it is due."""
        self._wake.set()

    async def answers(self, model: str, *, timeout: float) -> bool:
        """Whether it serves the model at this moment."""
        try:
            return await self._client.serving(model, timeout=timeout)
        except (BackendUnavailable, DeadlineExceeded):
            return False

    async def _watch(self) -> None:
        while True:
            await self._look()
            self._looked(self)
            pause = _CHECK_EVERY_S
            if self._missed or self._late:
                pause = min(_OFTEN_S * 2**self._missed, _SELDOM_S)
            await asyncio.sleep(_OFTEN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - _OFTEN_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> None:
        looks = (replica.look(timeout=_CHECK_TIMEOUT_S) for replica in self.replicas.values())
        results = await asyncio.gather(*looks, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, BackendUnavailable | DeadlineExceeded):
                raise failure
        if not failures:
            if self.reachable is False:
                for replica in self.replicas.values():
                    replica.put_on_trial()
            self.reachable = True
            self._late = self._missed = 0
            return
        late = all(isinstance(failure, DeadlineExceeded) for failure in failures)
        self._late = self._late + 1 if late else 0
        if late and self.reachable and not (self._late >= _LATE_CHECKS and self._may_eject(self)):
            return
        if self.reachable:
            self.ejections += 1
        self.reachable = False
        self._missed = min(self._missed + 1, 10)
