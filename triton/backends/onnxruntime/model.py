"""Triton's ``onnxruntime`` backend in Python, for servers that lack the official one.

A Python-based backend: Triton runs this file for every model whose ``config.pbtxt`` says ``backend: "onnxruntime"``,
so that the same model repository is served here and in NVIDIA's container by the C++ backend. It honours the
parameters ``intra_op_thread_count``, ``inter_op_thread_count`` and ``execution_mode`` of that backend
(https://github.com/triton-inference-server/onnxruntime_backend), and one of its own: ``run_values``, how many numbers
of the first input are computed at once. NumPy below 2 only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# Before the import: the package reports its use to its makers unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

# A parameter of a request that is given back as an output, so that its sender can tell its answer from another's: see
# app/catalogue/configs.py. Only a model whose configuration has this output does so.
_ECHO = "ECHO"


class TritonPythonModel:
    """One instance of one model: a session of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the ONNX file of the model's version."""
        config = json.loads(args["model_config"])
        outputs = [output["name"] for output in config["output"]]
        self._outputs = [name for name in outputs if name != _ECHO]
        self._echoes = _ECHO in outputs
        self._inputs = [tensor["name"] for tensor in config["input"]]
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"], args["model_version"], file)
        self._run_values = _number(config["parameters"], "run_values")
        self._session = ort.InferenceSession(str(path), _options(config["parameters"]), providers=_providers(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Runs the requests of one dynamic batch (equal shapes but for the first axis) in one session call."""
        try:
            return self._run(requests)
        except Exception as error:  # the server must answer every request, whatever went wrong
            failure = pb_utils.TritonError(f"{type(error).__name__}: {error}")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]

    def _run(self, requests: list[Any]) -> list[Any]:
        inputs = {}
        sizes: list[int] = []
        for name in self._inputs:
            # Views into shared memory: one request costs no copy.
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            sizes = [len(array) for array in arrays]
            inputs[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        results = self._results(inputs, sum(sizes))
        responses = []
        start = 0
        for request, size in zip(requests, sizes, strict=True):
            part = slice(start, start + size)
            tensors = [pb_utils.Tensor(name, array[part]) for name, array in zip(self._outputs, results, strict=True)]
            if self._echoes:
                number = json.loads(request.parameters() or "{}").get(_ECHO, 0)
                tensors.append(pb_utils.Tensor(_ECHO, np.full((size, 1), number, np.int64)))
            responses.append(pb_utils.InferenceResponse(tensors))
            start += size
        return responses

    def _results(self, inputs: dict[str, Any], items: int) -> list[Any]:
        """The outputs of a batch, computed in parts of ``run_values`` numbers of the first input, where that is set."""
        values = inputs[self._inputs[0]].size
        most = max(1, self._run_values * items // values) if self._run_values and values else items
        if items <= most:
            return list(self._session.run(self._outputs, inputs))
        parts = [
            self._session.run(self._outputs, {name: array[start : start + most] for name, array in inputs.items()})
            for start in range(0, items, most)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _number(parameters: dict[str, dict[str, str]], name: str) -> int:
    return int(parameters.get(name, {}).get("string_value", "0"))


def _options(parameters: dict[str, dict[str, str]]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = _number(parameters, "intra_op_thread_count")
    options.inter_op_num_threads = _number(parameters, "inter_op_thread_count")
    if _number(parameters, "execution_mode"):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    # A thread that spins while it waits takes its core from the other models of a small machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _providers(args: dict[str, str]) -> list[Any]:
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in ort.get_available_providers():
        device = {"device_id": int(args["model_instance_device_id"])}
        return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
