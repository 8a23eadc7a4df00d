"""Names of Milvus collections: a prefix, the family, the group's name, and a generation.

The generation is random, so that a group's name can be used again at once while the old collection is still going.
"""

from __future__ import annotations

import re
import secrets
import time

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


def scratch_name(prefix: str) -> str:
    """A new collection's name for a trial; it is no group's, and tells when it was made."""
    return f"{prefix}_scratch_{int(time.time()):x}_{secrets.token_hex(5)}"


def age_of_scratch(prefix: str, collection: str) -> float | None:
    """Seconds since a collection was named by ``scratch_name``; None for any other one."""
    found = re.fullmatch(rf"{re.escape(prefix)}_scratch_([0-9a-f]{{1,12}})_[0-9a-f]{{10}}", collection)
    return time.time() - int(found[1], 16) if found else None
