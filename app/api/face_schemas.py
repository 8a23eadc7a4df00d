"""The shapes of requests and answers about faces."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.api.schemas import (
    AT_LEAST_ONE,
    BoundingBox,
    CallParameters,
    ClusterGroup,
    Desc,
    FaceQuality,
    GroupName,
    Id,
    Image,
    ListedFace,
    Nothing,
    Score,
    ScoreTerms,
    SearchedGroups,
    SearchedImages,
    SearchedTag,
    SearchedTags,
    SearchImages,
    SearchTerms,
    Tag,
    Threshold,
    Timed,
    Uri,
    WithTimings,
)

_CORNERS: dict[str, Any] = {
    "type": "array",
    "minItems": 4,
    "maxItems": 4,
    "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}},
}
_NOTHING: list[dict[str, Any]] = [
    {"type": "array", "maxItems": 0},
    {"type": "object", "maxProperties": 0},
    {"type": "null"},
]
GivenPoints = Annotated[
    # Kept as it came: what is wrong with a box has an error of its own.
    Raw,
    Meta(
        description="Four corners [x, y] around the face, in pixels of the image as a person sees it (after EXIF "
        "orientation): the face's top left, top right, bottom right, bottom left. Any quadrilateral whose sides do "
        "not cross and that overlaps the image; an empty array means: not given.",
        examples=[[[177, 58], [271, 58], [271, 195], [177, 195]]],
        extra_json_schema={"anyOf": [_CORNERS, *_NOTHING]},
    ),
]


# --- requests ------------------------------------------------------------------------------------


class FaceBox(Struct):
    """The place of a face in an image, given by the caller."""

    pts: GivenPoints | UnsetType = UNSET


class FaceImage(Image):
    """An image whose face is added or updated."""

    bounding_box: FaceBox | Nothing | None = None


class FaceParameters(CallParameters):
    """How a face is added."""

    reject_bad_face: (
        Annotated[bool, Meta(description="Whether a face that is not `clear` and `up` is refused.")] | None
    ) = None


class PutFace(Struct):
    """Adds a face, or replaces one."""

    image: FaceImage
    params: FaceParameters | Nothing | None = None


class SearchFaces(SearchImages):
    """Searches a group with the faces of one or more images."""

    use_quality: (
        Annotated[bool, Meta(description="Whether only faces that are `clear` and `up` are searched with.")] | None
    ) = None


class SearchFaceGroups(SearchFaces, kw_only=True):
    """Searches several groups with the faces of one or more images."""

    groups: SearchedGroups
    cluster_group: ClusterGroup | None = None


class NothingObject(Struct):
    """An empty object means: not given."""


class FaceBoxes(Struct):
    """Where the faces of an image are."""

    bounding_boxes: (
        Annotated[
            list[FaceBox],
            Meta(
                description="At most 128, and 256 of all images together; each needs its `pts`. Without any the "
                "image's faces are detected."
            ),
        ]
        | NothingObject
        | None
    ) = None


class BoxedImage(Struct):
    """An image, and the faces in it to search with."""

    uri: Uri
    attribute: FaceBoxes | Nothing | None = None


class BoxParameters(SearchTerms, kw_only=True):
    """What a search with given boxes is to find."""

    timings: WithTimings | None = None


class SearchBoxes(Struct, kw_only=True):
    """Searches a group with the faces in given boxes."""

    data: Annotated[list[BoxedImage], Meta(max_length=1024, extra_json_schema=AT_LEAST_ONE)]
    params: BoxParameters | Nothing | None = None
    tag: SearchedTag | None = None
    tags: SearchedTags | None = None


class SearchBoxesInGroups(SearchBoxes, kw_only=True):
    """Searches several groups with the faces in given boxes."""

    groups: SearchedGroups
    cluster_group: ClusterGroup | None = None


class CompareGroups(ScoreTerms, kw_only=True):
    """Compares a group with another one."""

    target_group: GroupName


class DetectFaces(Struct):
    """Looks for the faces of images."""

    images: SearchedImages
    params: CallParameters | Nothing | None = None


class VerifyFaces(Struct):
    """Compares the largest faces of two images."""

    images: Annotated[
        list[Uri],
        Meta(max_length=1024, description="Two images.", extra_json_schema={"minItems": 2}),
    ]
    threshold: Threshold | None = None
    params: CallParameters | Nothing | None = None


# --- answers -------------------------------------------------------------------------------------


class AddedFace(Timed):
    """The face was stored."""

    id: Id
    bounding_box: BoundingBox
    face_quality: Annotated[FaceQuality, Meta(description="Not given where the caller gave the box.")] | UnsetType = (
        UNSET
    )
    face_number: (
        Annotated[int, Meta(ge=2, description="Faces in the image, given when there are several.")] | UnsetType
    ) = UNSET


class FaceHit(Struct):
    """A stored face that is alike."""

    score: Score
    id: Id
    tag: Tag
    desc: Desc
    bounding_box: BoundingBox


class SearchedFace(Struct):
    """A face of a searched image, and the stored faces like it."""

    bounding_box: BoundingBox
    faces: Annotated[list[FaceHit], Meta(description="Best first.")]


class FaceResults(Struct):
    """Faces of one searched image."""

    faces: Annotated[
        list[SearchedFace],
        Meta(description="Largest first, or in the order of the given boxes; empty where no face was found."),
    ]


class FaceSearchResults(Timed):
    """One entry per searched image, in order."""

    search_results: list[FaceResults]


class GroupFaceHit(FaceHit):
    """A stored face that is alike, and the group that it is in."""

    group: GroupName


class GroupSearchedFace(Struct):
    """A face of a searched image, and the stored faces of all groups like it."""

    bounding_box: BoundingBox
    faces: Annotated[list[GroupFaceHit], Meta(description="Best first.")]


class GroupFaceResults(Struct):
    """Faces of one searched image."""

    faces: Annotated[
        list[GroupSearchedFace],
        Meta(description="Largest first, or in the order of the given boxes; empty where no face was found."),
    ]


class GroupFaceSearchResults(Timed):
    """One entry per searched image, in order."""

    search_results: list[GroupFaceResults]


class ComparedFace(ListedFace):
    """A face of the target group, and the faces of the base group like it."""

    faces: Annotated[list[FaceHit], Meta(description="Best first.")]


class CompareResults(Struct):
    """The faces of the target group that have a hit, in the order of their ids."""

    compare_results: list[ComparedFace]


LandmarkPoint = Annotated[
    list[float], Meta(min_length=2, max_length=2, description="[x, y] in pixels of the image as a person sees it.")
]


class Landmarks(Struct):
    """Five points of a face; right and left are the person's own."""

    right_eye: LandmarkPoint
    left_eye: LandmarkPoint
    nose: LandmarkPoint
    right_mouth_corner: LandmarkPoint
    left_mouth_corner: LandmarkPoint


class DetectedFace(Struct):
    """A face of an image."""

    bounding_box: BoundingBox
    landmarks: Landmarks
    face_quality: FaceQuality


class DetectedFaces(Struct):
    """The faces of one image."""

    faces: Annotated[list[DetectedFace], Meta(description="Largest first; empty where no face was found.")]


class DetectResults(Timed):
    """One entry per image, in order."""

    detect_results: list[DetectedFaces]


class VerifiedFace(Struct):
    """The largest face of an image."""

    bounding_box: BoundingBox


class VerifyResult(Timed):
    """Whether the largest faces of two images are of one person."""

    score: Score
    same: Annotated[bool, Meta(description="Whether the score reaches the threshold.")]
    threshold: Threshold
    faces: Annotated[list[VerifiedFace], Meta(description="The two faces, in the order of the images.")]
