"""A small server that speaks Triton's protocols, gRPC and HTTP, and does to its callers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from app.inference.addresses import Address

MODEL = "doubler"


@dataclass
class Asked:
    """An HTTP request."""

    path: str
    headers: dict[str, str]
    body: bytes


class SmallHttp:
    """An HTTP server of one function.

    Args:
        answer: gives the status, the body, and how many bytes of that are JSON.
    """

    def __init__(self, answer: Callable[[Asked], Awaitable[tuple[int, bytes, int]]]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()
        self.connections = 0

    async def start(self, port: int = 0) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # a connection that was accepted in this turn begins to be served in the next
        await asyncio.sleep(0)
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await asyncio.sleep(0)  # what was aborted is closed in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        self.connections += 1
        try:
            while True:
                line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines if each)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, content, size = await self._answer(Asked(line.split(" ")[1], headers, body))
                head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n"
                head += f"Inference-Header-Content-Length: {size}\r\n\r\n" if size else "\r\n"
                writer.write(head.encode() + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._serving.discard(serving)
            writer.transport.abort()


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
        speaks_http: whether it has an HTTP endpoint, too; batches go there then.
    """

    speaks_http = False

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
        self.port = self.http_port = 0
        self._server: Any = None
        self._http: SmallHttp | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def both_addresses(self) -> Address:
        return Address(self.address, f"127.0.0.1:{self.http_port}" if self.speaks_http else "")

    @property
    def entry(self) -> str:
        """As the setting names it."""
        return f"{self.address}/{self.http_port}" if self.speaks_http else self.address

    async def start(self) -> None:
        if self.speaks_http:
            self._http = SmallHttp(self._http_answer)
            self.http_port = await self._http.start(self.http_port)
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        if self._http is not None:
            await self._http.stop()
            self._http = None

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
        array = np.frombuffer(request.raw_input_contents[0], np.int64).reshape(request.inputs[0].shape)
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        outputs = await self._outputs(array, headers, request.parameters["ECHO"].int64_param)
        if self.fault:
            await context.abort(grpc.StatusCode.INTERNAL, self.fault)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, output in outputs.items():
            answer.outputs.add(name=name, datatype="INT64", shape=output.shape)
            answer.raw_output_contents.append(output.tobytes())
        return answer

    async def _outputs(
        self, array: NDArray[np.int64], headers: dict[str, str], number: int
    ) -> dict[str, NDArray[np.int64]]:
        self.batches.append(len(array))
        self.headers = headers
        await self._answers(batch=True)
        await self.gate.wait()
        outputs = {"DOUBLE": array * 2}
        if self.echoes:
            outputs["ECHO"] = np.full((len(array), 1), number, np.int64)
        before, self._before = self._before, outputs
        return before if self.mixes and before is not None else outputs

    async def _http_answer(self, asked: Asked) -> tuple[int, bytes, int]:
        """Status, body, and how much of that is JSON."""
        if asked.path == f"/v2/models/{MODEL}/ready":
            await self._answers()
            return 200, b"", 0
        if asked.path != f"/v2/models/{MODEL}/infer":
            return 400, b'{"error":"unknown model"}', 0
        size = int(asked.headers["inference-header-content-length"])
        told = json.loads(asked.body[:size])
        [tensor] = told["inputs"]
        if "shared_memory_region" in tensor["parameters"]:
            return 400, b'{"error":"Unable to find shared memory region"}', 0
        array = np.frombuffer(asked.body[size:], np.int64).reshape(tensor["shape"])
        outputs = await self._outputs(array, asked.headers, told["parameters"].get("ECHO", 0))
        if self.fault:
            return 500, json.dumps({"error": self.fault}).encode(), 0
        wanted = [
            {
                "name": name,
                "datatype": "INT64",
                "shape": output.shape,
                "parameters": {"binary_data_size": output.nbytes},
            }
            for name, output in outputs.items()
        ]
        head = json.dumps({"model_name": MODEL, "outputs": wanted}).encode()
        return 200, head + b"".join(output.tobytes() for output in outputs.values()), len(head)


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
