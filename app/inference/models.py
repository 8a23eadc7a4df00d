"""The models that Triton serves: what each says of itself, and a batcher in front of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from app.catalogue.configs import BATCH_PIXELS, CORES, GATHER_MS
from app.catalogue.roles import CONTRACTS, Role
from app.errors import BackendUnavailable
from app.inference.batcher import MicroBatcher, Outputs
from app.inference.cores import Gathering, SharedCores
from app.inference.identity import Told, instances
from app.inference.servers import ModelReplaced, TritonServers
from app.metrics import InferenceMetrics

_CLOSE_TIMEOUT_S = 2.0
# A server that was there and has gone is given so long to come back before its callers are told: the embedded one is
# started again within a few seconds, and another one behind the same address may take its place.
_PATIENCE_S = 15.0
_RETRY_S = 0.2
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What every model says of itself.

    Attributes:
        model_id: which network with which weights; embeddings of different ids are never compared.
        max_batch: most items in one call.
        instances: copies that work side by side.
        batch_pixels: most pixels in one call of several items; 0: any number.
        cores: of a server without an accelerator; 0: it has one, or does not say.
        gather_s: seconds for which an item waits for others at most while all cores are busy.
    """

    model_id: str
    max_batch: int
    instances: int
    batch_pixels: int = field(default=0, kw_only=True)
    cores: int = field(default=0, kw_only=True)
    gather_s: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True, slots=True)
class DetectorSpec(ModelSpec):
    """A face detector.

    Attributes:
        input_long_side: pixels to which an image's long side is scaled.
        input_multiple: both input sides are multiples of it.
        score_threshold: confidence from which a candidate is a face.
        nms_iou: overlap from which two candidates are one face.
    """

    input_long_side: int
    input_multiple: int
    score_threshold: float
    nms_iou: float


@dataclass(frozen=True, slots=True)
class QualitySpec(ModelSpec):
    """A face quality model and the rules that go with it.

    Attributes:
        input_size: side of the square input, in pixels.
        alignment_template: where the five landmarks lie in the input, in pixels.
        small_side: pixels of a box's shorter side below which a face is small.
        pose_yaw: shift of the nose tip to a side, in distances of the eyes, from which a face is turned away.
        pose_pitch: shift of the nose tip up or down, in distances of eyes and mouth, from which it is.
    """

    input_size: int
    alignment_template: tuple[tuple[float, float], ...]
    small_side: float
    pose_yaw: float
    pose_pitch: float


@dataclass(frozen=True, slots=True)
class EmbedderSpec(ModelSpec):
    """An embedding model.

    Attributes:
        input_size: side of the square input, in pixels.
        dimension: length of the embedding.
        metric: ``L2`` or ``COSINE``.
        calibration: how the metric becomes a score: ``kind`` and its numbers.
        alignment_template: where the five landmarks lie in the input, in pixels; empty for whole images.
    """

    input_size: int
    dimension: int
    metric: str
    calibration: Mapping[str, Any]
    alignment_template: tuple[tuple[float, float], ...]


class _Parameters:
    """The ``parameters`` of a model configuration, with sentences for what is missing."""

    def __init__(self, model: str, config: Mapping[str, Any]) -> None:
        self._model = model
        self._values = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}

    def text(self, name: str) -> str:
        if name not in self._values:
            message = f"The model {self._model} does not say its {name}: build the model repository again."
            raise BackendUnavailable(message)
        return str(self._values[name])

    def number(self, name: str) -> int:
        """0 where it is not said."""
        return int(self._values.get(name) or 0)

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))


def _common(config: Mapping[str, Any], parameters: _Parameters) -> dict[str, Any]:
    return {
        "model_id": parameters.text("model_id"),
        "max_batch": max(1, int(config.get("max_batch_size", 1))),
        "instances": instances(config),
        "batch_pixels": parameters.number(BATCH_PIXELS),
        "cores": parameters.number(CORES),
        "gather_s": parameters.number(GATHER_MS) / 1000,
    }


def detector_spec(model: str, config: Mapping[str, Any]) -> DetectorSpec:
    """Reads a detector's configuration (the JSON form of Triton's ModelConfig)."""
    parameters = _Parameters(model, config)
    return DetectorSpec(
        **_common(config, parameters),
        input_long_side=int(parameters.text("input_long_side")),
        input_multiple=int(parameters.text("input_multiple")),
        score_threshold=float(parameters.text("score_threshold")),
        nms_iou=float(parameters.text("nms_iou")),
    )


def quality_spec(model: str, config: Mapping[str, Any]) -> QualitySpec:
    """Reads a face quality model's configuration (the JSON form of Triton's ModelConfig)."""
    parameters = _Parameters(model, config)
    return QualitySpec(
        **_common(config, parameters),
        input_size=int(parameters.text("input_size")),
        alignment_template=_points(parameters.json("alignment_template")),
        small_side=float(parameters.text("small_side")),
        pose_yaw=float(parameters.text("pose_yaw")),
        pose_pitch=float(parameters.text("pose_pitch")),
    )


def embedder_spec(model: str, config: Mapping[str, Any]) -> EmbedderSpec:
    """Reads an embedding model's configuration (the JSON form of Triton's ModelConfig)."""
    parameters = _Parameters(model, config)
    template = parameters.json("alignment_template") if "alignment_template" in config.get("parameters", {}) else []
    return EmbedderSpec(
        **_common(config, parameters),
        input_size=int(parameters.text("input_size")),
        dimension=int(config["output"][0]["dims"][-1]),
        metric=parameters.text("metric"),
        calibration=parameters.json("calibration"),
        alignment_template=_points(template),
    )


def _points(template: Iterable[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in template)


SpecT = TypeVar("SpecT", bound=ModelSpec)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Inference(Generic[SpecT]):
    """What a model answered, and what it said of itself when it did.

    Attributes:
        outputs: arrays by name, without a batch axis.
        spec: of the model that made them.
    """

    outputs: Outputs
    spec: SpecT


class ServedModel(Generic[SpecT]):
    """One model on Triton, however many servers there are.

    Its specification is read on first use, again after a server was away, and every few seconds: it may have come back
    with another model, whose embeddings must not be taken for the old one's.

    Args:
        servers: which serve it.
        role: what the model is for; its value is the model's name.
        parse: makes the specification from the model's configuration.
        max_waiting: most items that may wait for it.
        in_flight: batches at work at the same time on each server; 0 is one more than it has instances there.
        cores: that it shares with the other models.
        metrics: told of batches, calls and the model.
    """

    def __init__(
        self,
        servers: TritonServers,
        role: Role,
        parse: Callable[[str, Mapping[str, Any]], SpecT],
        *,
        max_waiting: int,
        in_flight: int,
        cores: SharedCores,
        metrics: InferenceMetrics | None = None,
    ) -> None:
        self._servers = servers
        self._role = role
        contract = CONTRACTS[role]
        self._input = contract.inputs[0].name
        self._outputs = [tensor.name for tensor in contract.outputs]
        self._parse = parse
        self._max_waiting = max_waiting
        self._in_flight = in_flight
        self._cores = cores
        self._told: Told | None = None
        self._metrics = metrics or InferenceMetrics.unseen()
        self._spec: SpecT | None = None
        self._gone_since: float | None = None
        self._batcher: MicroBatcher | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Name in the model repository."""
        return self._role.value

    async def spec(self) -> SpecT:
        """What the model says of itself.

        Raises:
            BackendUnavailable: Triton or the model does not answer.
        """
        spec, _ = await self._open_now()
        return spec

    async def infer(self, item: NDArray[Any]) -> Inference[SpecT]:
        """Runs one item (no batch axis).

        Raises:
            Overloaded: too many items wait.
            Closing: the service is shutting down.
            BackendUnavailable: Triton or the model does not answer, or the model was replaced meanwhile.
        """
        spec, batcher = await self._open_now()
        return Inference(await batcher.submit(item), spec)

    async def ready(self, *, timeout: float) -> bool:
        """Whether Triton serves the model at this moment."""
        return await self._servers.ready(self.name, timeout=timeout)

    def sample(self) -> None:
        """Tells how many items wait at this moment."""
        waiting = self._batcher.waiting if self._batcher is not None else 0
        self._metrics.queue(self.name, items=waiting, limit=self._max_waiting)

    async def close(self) -> None:
        """Refuses new items and ends those at work."""
        if self._batcher is not None:
            await self._batcher.close(_CLOSE_TIMEOUT_S)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _open_now(self) -> tuple[SpecT, MicroBatcher]:
        # A request asks several times, and nearly always the answer is there.
        told = self._servers.told_lately(self.name)
        if told is None or self._told is None or told.identity != self._told.identity:
            return await self._patiently(self._opened)
        assert self._spec is not None
        assert self._batcher is not None
        self._gone_since = None
        return self._spec, self._batcher

    async def _opened(self) -> tuple[SpecT, MicroBatcher]:
        told = await self._servers.told(self.name)
        if self._told is None or told.identity != self._told.identity:
            self._open(told)
        assert self._spec is not None
        assert self._batcher is not None
        return self._spec, self._batcher

    def _open(self, told: Told) -> None:
        spec = self._parse(self.name, told.config)
        if self._batcher is not None:
            # What waits was made for the model before: it is refused, and what is at work may end.
            task = asyncio.create_task(self._batcher.close(_CLOSE_TIMEOUT_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._batcher = MicroBatcher(
            partial(self._run, told),
            max_batch=spec.max_batch,
            max_waiting=self._max_waiting,
            in_flight=partial(self._servers.slots, self.name, self._in_flight),
            instances=spec.instances,
            max_values=spec.batch_pixels * _CHANNELS,
            gathering=Gathering(self._cores, self._cores_of(spec), spec.gather_s) if spec.cores else None,
            metrics=self._metrics.batches(self.name),
        )
        self._metrics.served(self.name, spec.model_id)
        self._spec = spec
        self._told = told

    def _cores_of(self, spec: SpecT) -> Callable[[], int]:
        return partial(self._servers.slots, self.name, spec.cores)

    async def _run(self, told: Told, batch: NDArray[Any]) -> Outputs:
        async def attempt() -> Outputs:
            with self._metrics.calls.one(self.name):
                return await self._servers.infer(self.name, told, {self._input: batch}, self._outputs)

        try:
            return await self._patiently(attempt)
        except ModelReplaced as error:
            message = f"The model {self.name} was replaced: try again."
            raise BackendUnavailable(message) from error

    async def _patiently(self, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Tries again for a while where the server has just gone; inference can be repeated without harm.

        Raises:
            BackendUnavailable: it has been gone for longer, or was never there.
        """
        while True:
            try:
                result = await attempt()
            except BackendUnavailable:
                now = time.monotonic()
                if self._gone_since is None:
                    self._gone_since = now
                if self._spec is None or now - self._gone_since >= _PATIENCE_S:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                self._gone_since = None
                return result
