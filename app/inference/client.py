"""One Triton server: arrays in, arrays out, foreign errors translated."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from app.catalogue.configs import ECHO
from app.errors import BackendUnavailable, DeadlineExceeded, InternalError
from app.inference.addresses import Address
from app.inference.http_calls import HttpCalls
from app.inference.shared_memory import Region, SharedRegions
from app.traces import current_trace

Arrays = Mapping[str, NDArray[Any]]

_DOWN = {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.NOT_FOUND", "StatusCode.UNKNOWN"}
# The Python backend's word for a process of its own that died, or that a busy machine kept waiting.
_STUB = re.compile(r"[Ss]tub process .*(not healthy|unhealthy|restarted)")
_LATE = "StatusCode.DEADLINE_EXCEEDED"
# Without these a channel waits up to two minutes before it looks again for a server that was restarted.
_CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A call that gRPC itself took to the next connection could be answered by another server.
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

_log = logging.getLogger("likeness.triton")


class ServerFault(Exception):
    """The server failed with an input that another one may be able to process: an InternalError where none is."""


class TritonClient:
    """Speaks gRPC to one Triton server, and HTTP for its batches where it is told the address of that.

    Args:
        address: of the server.
        timeout: seconds that one call may take.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        self._url = address.grpc
        self._http = HttpCalls(address.http, timeout=timeout, lost=self._lose) if address.http else None
        self._timeout = timeout
        self._client: Any = None
        self._regions: SharedRegions
        self._regions_made = 0
        self._losses = 0
        self._numbers = itertools.count(secrets.randbits(48))  # other processes' calls have others
        self._was_ready = False
        self._configs: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = InferenceServerClient(self._url, channel_args=_CHANNEL)
        self._regions = SharedRegions(self._client)
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._http is not None:
            self._http.close()
        await self._regions.close()
        await self._client.close()

    @property
    def losses(self) -> int:
        """How often a connection was lost so far: behind the next one there may be another server."""
        # The watcher is told a little late.
        self._notice(self._client._channel.get_state())
        return self._losses

    def _lose(self) -> None:
        self._losses += 1

    def _notice(self, state: grpc.ChannelConnectivity) -> None:
        ready = state is grpc.ChannelConnectivity.READY
        if self._was_ready and not ready:
            self._losses += 1
        self._was_ready = ready

    async def _watch(self) -> None:
        channel: grpc.aio.Channel = self._client._channel
        state = channel.get_state()
        while True:
            await channel.wait_for_state_change(state)
            if state is grpc.ChannelConnectivity.READY:
                # Even where it is ready again; a loss that was noticed above counts twice, which does no harm.
                self._losses += 1
            state = channel.get_state()
            self._was_ready = state is grpc.ChannelConnectivity.READY

    async def infer(
        self, model: str, inputs: Arrays, outputs: Sequence[str], *, echoes: bool = False
    ) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Args:
            model: name in the model repository.
            inputs: arrays with the batch as their first axis.
            outputs: names of the wanted output tensors.
            echoes: whether each answer of the model tells which call it is to.

        Returns:
            the outputs by name, batch first.

        Raises:
            BackendUnavailable: Triton or the model does not answer, or with the answer to another call.
            DeadlineExceeded: the call took longer than the timeout.
            ServerFault: the server failed in some other way.
            InternalError: the model refused the batch.
        """
        number = next(self._numbers) if echoes else None
        trace = current_trace()
        items = len(next(iter(inputs.values())))
        told: dict[str, str | int] = {"server.address": self._url, "likeness.model": model, "likeness.batch": items}
        try:
            with trace.call(f"triton {model}", told) if trace is not None else nullcontext({}) as headers:
                result = await self._answer(model, inputs, outputs, number, headers)
        except (InferenceServerException, grpc.RpcError) as error:
            raise _translated(error, model) from error
        for name in outputs:
            if name not in result:
                message = f"The model {model} answered without its output {name}."
                raise InternalError(message)
        arrays = {name: result[name] for name in outputs}
        echo = result.get(ECHO)
        if any(len(array) != items for array in arrays.values()) or (echo is not None and np.any(echo != number)):
            _log.error("Triton answered a call to the model %s with the answer to another one", model)
            raise BackendUnavailable(f"The model {model} is not available at the moment: try again later.")
        return arrays

    async def _answer(
        self, model: str, inputs: Arrays, outputs: Sequence[str], number: int | None, headers: dict[str, str]
    ) -> dict[str, NDArray[Any]]:
        """One call, its inputs in memory shared with the server where it shares any."""
        parameters = {} if number is None else {ECHO: number}
        wanted, options = [*outputs, *parameters], {"parameters": parameters, "headers": headers}
        regions = self._regions_of_this_server()
        async with regions.holding(inputs.values()) as held:
            if held is not None:
                try:
                    return await self._call(model, inputs, wanted, held, options)
                except (InferenceServerException, grpc.RpcError) as error:
                    if "shared memory" not in str(error):
                        raise
                    regions.forget()  # it is another server already, which has mapped none of them
        return await self._call(model, inputs, wanted, None, options)

    async def _call(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        regions: Sequence[Region] | None,
        options: dict[str, Any],
    ) -> dict[str, NDArray[Any]]:
        if self._http is not None:
            return await self._http.infer(model, inputs, outputs, regions=regions, **options)
        places: Iterable[Region | None] = regions if regions is not None else itertools.repeat(None)
        tensors = [_tensor(*each, place) for each, place in zip(inputs.items(), places, strict=False)]
        result = await self._client.infer(
            model,
            tensors,
            outputs=[InferRequestedOutput(name) for name in outputs],
            client_timeout=self._timeout,
            **options,
        )
        answered = ((name, result.as_numpy(name)) for name in outputs)
        return {name: np.asarray(array) for name, array in answered if array is not None}

    def _regions_of_this_server(self) -> SharedRegions:
        losses = self.losses
        if self._regions_made != losses:
            self._regions_made = losses
            self._regions.forget()
        return self._regions

    async def config(self, model: str, *, timeout: float) -> dict[str, Any]:
        """The model's configuration as Triton tells it, in the JSON form of its protobuf schema.

        Raises:
            BackendUnavailable: Triton or the model does not answer.
            DeadlineExceeded: it took longer than the timeout.
        """
        try:
            answer = await self._client.get_model_config(model, client_timeout=timeout)
        except (InferenceServerException, grpc.RpcError) as error:
            raise _translated(error, model) from error
        # Asked every few seconds, and nearly always the same: its JSON form takes a millisecond to make.
        told = answer.SerializeToString(deterministic=True)
        kept = self._configs.get(model)
        if kept is None or kept[0] != told:
            config = json_format.MessageToDict(answer.config, preserving_proto_field_name=True)
            kept = self._configs[model] = told, config
        return kept[1]

    async def versions(self, model: str, *, timeout: float) -> list[str]:
        """The versions that Triton serves of the model.

        Raises:
            BackendUnavailable: Triton or the model does not answer.
            DeadlineExceeded: it took longer than the timeout.
        """
        try:
            answer = await self._client.get_model_metadata(model, client_timeout=timeout)
        except (InferenceServerException, grpc.RpcError) as error:
            raise _translated(error, model) from error
        return list(answer.versions)

    async def serving(self, model: str, *, timeout: float) -> bool:
        """Whether Triton serves the model at this moment.

        Raises:
            BackendUnavailable: Triton does not answer.
            DeadlineExceeded: it took longer than the timeout.
        """
        try:
            if self._http is not None:  # a third of the time, and the same way that batches go
                return await self._http.ready(model, timeout=timeout)
            return bool(await self._client.is_model_ready(model, client_timeout=timeout))
        except (InferenceServerException, grpc.RpcError) as error:
            if _status(error) in _DOWN - {"StatusCode.NOT_FOUND"} or _status(error) == _LATE:
                raise _translated(error, model) from error
            return False


def _tensor(name: str, array: NDArray[Any], region: Region | None) -> InferInput:
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    if region is None:
        tensor.set_data_from_numpy(array)
    else:
        tensor.set_shared_memory(region.name, array.nbytes)
    return tensor


def _status(error: Exception) -> str:
    return str(error.status()) if isinstance(error, InferenceServerException) else str(getattr(error, "code", str)())


def _translated(error: Exception, model: str) -> Exception:
    status = _status(error)
    if status == _LATE:
        return DeadlineExceeded(f"The model {model} took too long: try again later.")
    if status in _DOWN or _STUB.search(str(error)):
        return BackendUnavailable(f"The model {model} is not available at the moment: try again later.")
    message = f"The model {model} could not process this input."
    return ServerFault(message) if status == "StatusCode.INTERNAL" else InternalError(message)
