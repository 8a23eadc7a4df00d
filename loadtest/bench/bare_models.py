"""The model files of the repository in ONNX Runtime sessions or behind Triton, without a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

# Before the import: the package reports its use to its makers unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from app.catalogue.configs import FITS, read_config
from app.catalogue.layout import CONFIG_FILE
from app.catalogue.roles import CONTRACTS, Role
from app.inference.models import DetectorSpec, EmbedderSpec, detector_spec, embedder_spec

Outputs = dict[str, NDArray[Any]]


class Models(Protocol):
    """Runs batches."""

    def infer(self, role: Role, batch: NDArray[Any]) -> Outputs:
        """The outputs of one batch, by name."""


class Sessions:
    """One session of one thread for each model, with the options that the service's backend gives its own."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._opened: dict[Role, ort.InferenceSession] = {}

    def infer(self, role: Role, batch: NDArray[Any]) -> Outputs:
        """The outputs of one batch, by name."""
        contract = CONTRACTS[role]
        names = [tensor.name for tensor in contract.outputs]
        values = self._session(role).run(names, {contract.inputs[0].name: batch})
        return dict(zip(names, values, strict=True))

    def _session(self, role: Role) -> ort.InferenceSession:
        if role not in self._opened:
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            path = self._repository / role / "1" / "model.onnx"
            self._opened[role] = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return self._opened[role]


class TritonModels:
    """The same through tritonclient, as its documentation shows it."""

    def __init__(self, url: str) -> None:
        self._client = InferenceServerClient(url)

    def infer(self, role: Role, batch: NDArray[Any]) -> Outputs:
        """The outputs of one batch, by name."""
        contract = CONTRACTS[role]
        tensor = InferInput(contract.inputs[0].name, list(batch.shape), np_to_triton_dtype(batch.dtype))
        tensor.set_data_from_numpy(batch)
        wanted = [InferRequestedOutput(each.name) for each in contract.outputs]
        answer = self._client.infer(role.value, [tensor], outputs=wanted)
        return {each.name: answer.as_numpy(each.name) for each in contract.outputs}


def detector(repository: Path) -> DetectorSpec:
    """What the repository says of the face detector."""
    return detector_spec(Role.FACE_DETECTOR, _config(repository, Role.FACE_DETECTOR))


def embedder(repository: Path, role: Role) -> EmbedderSpec:
    """What the repository says of an embedding model."""
    return embedder_spec(role, _config(repository, role))


def largest_batch(repository: Path, role: Role) -> int:
    """The most items that the service sends the model at once on a machine without an accelerator."""
    return min(int(_config(repository, role)["max_batch_size"]), FITS[role].batch)


def _config(repository: Path, role: Role) -> dict[str, Any]:
    return MessageToDict(read_config(repository / role / CONFIG_FILE), preserving_proto_field_name=True)
