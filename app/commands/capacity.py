"""How much of everything a number of faces and of searches takes. docs/scaling.md explains each formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.commands import figures
from app.errors import OperatorError

_GIB = 2**30
_MIB = 2**20
_FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for.

    Attributes:
        faces: stored in all groups.
        qps: images searched a second.
        adds: images added a second.
        dimension: numbers in an embedding.
        links: HNSW's M.
        metadata: bytes of id, tag, desc and bounding box of a face.
        faces_per_image: faces searched per image.
        searched: share of the segments that a search looks into: 1 for whole groups, less where tags are named.
        copies: of every segment in memory, each on other query nodes.
        node_memory: bytes of one query node.
        node_cores: cores of one query node.
        service_cores: cores that one process of the service can keep busy.
        triton_cores: cores of one Triton without a GPU.
        gpu_images: images a second of one GPU; None where Triton works on cores.
        segment: largest segment of Milvus, in bytes.
    """

    faces: int
    qps: float
    adds: float = 0.0
    dimension: int = 128
    links: int = 16
    metadata: int = 256
    faces_per_image: float = 1.0
    searched: float = 1.0
    copies: int = 1
    node_memory: int = 64 * _GIB
    node_cores: int = 16
    service_cores: int = 2
    triton_cores: int = 8
    gpu_images: float | None = None
    segment: int = int(figures.SEGMENT.value) * _MIB

    def __post_init__(self) -> None:
        for name in (
            "faces",
            "dimension",
            "links",
            "copies",
            "node_memory",
            "node_cores",
            "service_cores",
            "triton_cores",
            "segment",
        ):
            if getattr(self, name) < 1:
                raise OperatorError(f"The plan's {name.replace('_', ' ')} must be at least 1.")
        if min(self.qps, self.adds, self.metadata) < 0 or self.faces_per_image <= 0:
            raise OperatorError("The plan's rates and sizes must not be negative.")
        if not 0 < self.searched <= 1:
            raise OperatorError("The searched share must be over 0 and at most 1.")
        if self.links < 2:
            raise OperatorError("HNSW's M must be at least 2.")
        if self.gpu_images is not None and self.gpu_images <= 0:
            raise OperatorError("A GPU's images a second must be over 0: measure them on yours.")


@dataclass(frozen=True, slots=True)
class FaceBytes:
    """Bytes of one face in a query node's memory, by what they are."""

    vector: int
    graph: float
    metadata: int
    record: float

    @property
    def in_memory(self) -> float:
        """All of them."""
        return self.vector + self.graph + self.metadata + self.record

    @property
    def stored(self) -> float:
        """In object storage: the row, and the index, which holds the vector once more."""
        return self.vector + self.metadata + (self.vector + self.graph)


@dataclass(frozen=True, slots=True)
class Milvus:
    """What the database takes.

    Attributes:
        memory: bytes in the memory of all query nodes, copies included.
        segments: of all groups, if their segments are full.
        searched_segments: that one search looks into.
        search_cores: cores that search without a pause.
        nodes_for_memory: query nodes that hold it all.
        nodes_for_cores: query nodes that search it all.
        nodes: the larger of them, and no fewer than there are copies.
        storage: bytes of object storage.
    """

    memory: float
    segments: int
    searched_segments: int
    search_cores: float
    nodes_for_memory: int
    nodes_for_cores: int
    nodes: int
    storage: float


@dataclass(frozen=True, slots=True)
class Inference:
    """What images take: cores at work without a pause, and replicas with room for peaks."""

    images: float
    service_cores: float
    service_replicas: int
    triton_cores: float
    triton_replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a demand."""

    face: FaceBytes
    milvus: Milvus
    inference: Inference


def face_bytes(dimension: int, links: int, metadata: int) -> FaceBytes:
    """Bytes of one face.

    On the lowest layer of HNSW each element has 2 M links. Of all elements a share of M^-l is on layer l, too (Malkov
    and Yashunin, arXiv 1603.09320, with mL = 1 / ln M): 1 / (M - 1) layers more on average, of M links each.
    """
    above = 1 / (links - 1)
    number = figures.LAYER_LINKS.value  # before each layer's links comes their number
    graph = 2 * links * number + figures.ELEMENT.value + above * (links * number + number)
    return FaceBytes(dimension * _FLOAT, graph, metadata, figures.RECORD.value)


def plan(demand: Demand) -> Plan:
    """Counts what a demand takes."""
    face = face_bytes(demand.dimension, demand.links, demand.metadata)
    return Plan(face, _milvus(demand, face), _inference(demand))


def _milvus(demand: Demand, face: FaceBytes) -> Milvus:
    memory = demand.faces * face.in_memory * demand.copies
    rows_per_segment = demand.segment // (face.vector + face.metadata)
    if rows_per_segment < 1:
        raise OperatorError("A segment must hold at least one face: make it larger.")
    segments = math.ceil(demand.faces / rows_per_segment)
    searched = math.ceil(segments * demand.searched)
    searches = (demand.qps * demand.faces_per_image) * searched
    cores = searches * figures.SEARCH.value / 1000
    for_memory = math.ceil(memory / (demand.node_memory * figures.FULL.value))
    for_cores = math.ceil(cores / (demand.node_cores * figures.BUSY.value))
    return Milvus(
        memory=memory,
        segments=segments,
        searched_segments=searched,
        search_cores=cores,
        nodes_for_memory=for_memory,
        nodes_for_cores=for_cores,
        nodes=max(for_memory, for_cores, demand.copies),
        storage=demand.faces * face.stored * figures.STORED.value,
    )


def _inference(demand: Demand) -> Inference:
    images = demand.qps + demand.adds
    service = images * figures.SERVICE.value / 1000
    triton = images * figures.TRITON.value / 1000 if demand.gpu_images is None else 0.0
    if demand.gpu_images is None:
        tritons = math.ceil(triton / (demand.triton_cores * figures.BUSY.value))
    else:
        tritons = math.ceil(images / (demand.gpu_images * figures.BUSY.value))
    return Inference(
        images=images,
        service_cores=service,
        service_replicas=max(1, math.ceil(service / (demand.service_cores * figures.BUSY.value))),
        triton_cores=triton,
        triton_replicas=max(1, tritons),
    )
