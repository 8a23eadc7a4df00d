"""What a collection looks like: the fields that rows must fill, and how their vectors are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pymilvus import AsyncMilvusClient, CollectionSchema, DataType

VECTOR_FIELD = "embedding"


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of one collection.

    Attributes:
        key: the primary key's field.
        texts: VARCHAR fields and their most bytes.
        others: fields of other kinds, but for the vectors.
        dimension: length of the vectors; None where there are none of 32-bit floats.
        metric: how the index compares them, in Milvus's word; None where there is no index.
    """

    key: str
    texts: Mapping[str, int]
    others: tuple[str, ...]
    dimension: int | None
    metric: str | None

    def has_fields_of(self, other: Shape) -> bool:
        """Whether rows of the one fit the other, but for the vectors' length and metric."""
        same_fields = (self.key, dict(self.texts), self.others) == (other.key, dict(other.texts), other.others)
        return same_fields and (self.dimension is None) == (other.dimension is None)


def schema_of(*, texts: Mapping[str, int], integers: Sequence[str], dimension: int, by_tag: bool) -> CollectionSchema:
    """The same for Milvus; the first of the texts is the key, and ``by_tag`` makes ``tag`` the partition key."""
    schema = AsyncMilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    key = next(iter(texts))
    for name, size in texts.items():
        partitions = by_tag and name == "tag"
        schema.add_field(name, DataType.VARCHAR, max_length=size, is_primary=name == key, is_partition_key=partitions)
    for name in integers:
        schema.add_field(name, DataType.INT64)
    schema.add_field(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=dimension)
    return schema
