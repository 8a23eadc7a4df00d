"""What happens when faces are put into clusters: the known are found, the new are stored."""

from __future__ import annotations

from collections.abc import Sequence

from app.services.enrolment import Enrolment
from app.services.face_search import FaceHits
from app.services.query_faces import QueryFaces
from app.services.rows import RowGate, Terms, check_size
from app.store.groups import GroupStore
from app.store.records import Family


class Cluster:
    """Similar faces in a group that grows by those it does not know.

    Args:
        store: where rows are kept.
        queries: finds and embeds the faces of searched images.
    """

    def __init__(self, store: GroupStore, queries: QueryFaces) -> None:
        self._queries = queries
        self._enrolment = Enrolment(store)
        self._gate = RowGate(store, Family.FACE)

    async def search(self, group: str, uris: Sequence[str], terms: Terms) -> list[list[FaceHits]]:
        """For every image its faces, largest first, and for each face the stored ones like it, or itself.

        Raises:
            GroupNotFound, ModelMismatch, and what fetching, decoding and inference raise, with the image's index;
            nothing is stored then.
        """
        spec = await self._queries.spec()
        await self._gate.admits(group, spec)
        images = await self._queries.of_images(uris, spec)
        faces = [face for found in images for face in found]
        if not faces:
            return [[] for _ in images]
        check_size(len(faces), terms.limit)
        hits = iter(await self._enrolment.hits(group, faces, spec, terms, known=[False] * len(faces)))
        return [[FaceHits(face.bounding_box, next(hits)) for face in found] for found in images]
