"""How many items Triton's models take at once, from its own statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tritonclient.grpc import InferenceServerClient


@dataclass(frozen=True, slots=True)
class Executions:
    """What a model did up to a moment.

    Attributes:
        inferences: items.
        executions: batches.
    """

    inferences: int
    executions: int


class BatchStatistics:
    """Asks a Triton.

    Args:
        url: host:port of its gRPC endpoint.
    """

    def __init__(self, url: str) -> None:
        self._client = InferenceServerClient(url)

    def read(self) -> dict[str, Executions]:
        """What each model did so far."""
        answer = self._client.get_inference_statistics()
        return {each.name: Executions(each.inference_count, each.execution_count) for each in answer.model_stats}


def mean_batches(before: Mapping[str, Executions], after: Mapping[str, Executions]) -> dict[str, float]:
    """Items per batch of each model that ran between two moments."""
    return {
        name: (now.inferences - before[name].inferences) / (now.executions - before[name].executions)
        for name, now in after.items()
        if now.executions > before[name].executions
    }
