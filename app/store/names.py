"""Names of Milvus collections: a prefix, the family, the group's name, and a generation.

The generation is random, so that a group's name can be used again at once while the old collection is still going.
"""

from __future__ import annotations

import re
import secrets

from app.store.records import Family


def registry_name(prefix: str) -> str:
    """The collection that lists the groups of this service."""
    return f"{prefix}_registry"


def fresh_collection_name(prefix: str, family: Family, group: str) -> str:
    """A new collection's name; Milvus allows letters, digits and ``_`` only, so ``-`` is written ``_d``."""
    escaped = group.replace("_", "__").replace("-", "_d")
    return f"{prefix}_{family}_{escaped}_g{secrets.token_hex(5)}"


def holds_rows(prefix: str, collection: str) -> bool:
    """Whether a collection bears a name that ``fresh_collection_name`` makes."""
    return re.fullmatch(rf"{re.escape(prefix)}_({'|'.join(Family)})_\w+_g[0-9a-f]{{10}}", collection) is not None
