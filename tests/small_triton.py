"""A small server that speaks Triton's protocol over real gRPC, and does to its callers what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

MODEL = "doubler"


class SmallTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves one model that doubles its input.

    Attributes:
        model_id: what the model says of itself.
        hangs: whether nothing is answered, as of a server that was stopped.
        stuck: whether no batch is answered, though the server says that it is well.
        fault: with what each batch is answered instead, as an internal error.
        batches: sizes of the batches that came.
        asked: how often somebody asked for the model's configuration.
        headers: metadata of the last one.
        echoes: whether answers tell which call they are to, as those of our own backend do.
        mixes: whether each call gets the answer to the one before it.
    """

    def __init__(self, model_id: str = "one", *, instances: int = 1) -> None:
        self.model_id = model_id
        self.instances = instances
        self.hangs = False
        self.stuck = False
        self.fault = ""
        self.batches: list[int] = []
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.echoes = self.mixes = False
        self._before: Any = None
        self.port = 0
        self._server: Any = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answers(self, *, batch: bool = False) -> None:
        while self.hangs or (batch and self.stuck):
            await asyncio.sleep(0.01)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._answers()
        return service_pb2.ModelReadyResponse(ready=request.name == MODEL)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._answers()
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        await self._answers()
        answer = service_pb2.ModelConfigResponse()
        answer.config.name = request.name
        answer.config.max_batch_size = 4
        answer.config.instance_group.add(count=self.instances)
        answer.config.parameters["model_id"].string_value = self.model_id
        if self.echoes:
            answer.config.output.add(name="ECHO", data_type=model_config_pb2.TYPE_INT64, dims=[1])
        return answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.batches.append(request.inputs[0].shape[0])
        self.headers = {key: str(value) for key, value in context.invocation_metadata()}
        await self._answers(batch=True)
        await self.gate.wait()
        if self.fault:
            await context.abort(grpc.StatusCode.INTERNAL, self.fault)
        array = np.frombuffer(request.raw_input_contents[0], np.int64).reshape(request.inputs[0].shape)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name="DOUBLE", datatype="INT64", shape=array.shape)
        answer.raw_output_contents.append((array * 2).tobytes())
        if self.echoes:
            echo = np.full((len(array), 1), request.parameters["ECHO"].int64_param, np.int64)
            answer.outputs.add(name="ECHO", datatype="INT64", shape=echo.shape)
            answer.raw_output_contents.append(echo.tobytes())
        before, self._before = self._before, answer
        return before if self.mixes and before is not None else answer


@asynccontextmanager
async def small_tritons(*models: str) -> AsyncIterator[Sequence[SmallTriton]]:
    """Several of them, started and stopped."""
    servers = [SmallTriton(model) for model in models]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            server.hangs = server.stuck = False
            await server.stop()
