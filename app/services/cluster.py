"""What happens when faces are put into clusters: the known are found, the new are stored."""

from __future__ import annotations

from app.services.enrolment import Enrolment
from app.services.face_search import FaceHits
from app.services.query_faces import FaceQuery, QueryFaces
from app.services.rows import Terms
from app.store.groups import GroupStore


class Cluster:
    """Similar faces in a group that grows by those it does not know.

    Args:
        store: where rows are kept.
        queries: finds and embeds the faces of searched images.
    """

    def __init__(self, store: GroupStore, queries: QueryFaces) -> None:
        self._queries = queries
        self._enrolment = Enrolment(store)

    async def search(self, group: str, query: FaceQuery, terms: Terms) -> list[list[FaceHits]]:
        """For every image its faces, largest first, and for each face the stored ones like it, or itself.

        Raises:
            what ``QueryFaces.asked`` raises; nothing is stored then.
        """
        asked = await self._queries.asked([group], query, terms)
        faces = asked.faces
        hits = await self._enrolment.hits(group, faces, asked.spec, terms, known=[False] * len(faces)) if faces else []
        return [[FaceHits(face.bounding_box, found) for face, found in each] for each in asked.by_image(hits)]
