"""The shapes of requests and answers: they validate, and OpenAPI is made from them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.access.receipts import Receipt
from app.vision.orientation import Orientation
from app.vision.quality import Quality

# Typed clients send empty objects, and some languages empty arrays, for "not given".
Nothing = Annotated[list[Any], Meta(max_length=0, description="An empty array means: not given.")]

# For the document alone: an empty array has a sentence of its own, which says how many there may be.
AT_LEAST_ONE: dict[str, Any] = {"minItems": 1}

Uri = Annotated[
    str,
    Meta(
        min_length=1,
        description="Where the image is: `http://…`, `https://…` or `data:<any mime>;base64,…`.",
        examples=["https://example.com/cat.jpg"],
    ),
]
Id = Annotated[
    str,
    Meta(
        description="Any characters but control characters (tab, line feed and carriage return are allowed), "
        "at most 4096 bytes in UTF-8.",
        examples=["photos/cat.jpg"],
    ),
]
Desc = Annotated[
    Raw, Meta(description="Any JSON value, at most 64 KiB and nested at most 500 deep; comes back exactly as sent.")
]
Tag = Annotated[str, Meta(description="At most 256 bytes in UTF-8; empty is `default`.", examples=["cats"])]
SearchedTag = Annotated[str, Meta(description="Search only inside this tag; empty or missing is all of them.")]
SearchedTags = Annotated[
    list[str],
    Meta(description="Search only inside these tags, at most 100, and `tag`; empty or missing is all of them."),
]
GroupName = Annotated[str, Meta(description="Name of a group.", examples=["staff"])]
SearchedGroups = Annotated[
    list[GroupName],
    Meta(description="The groups to search: 1 to 5, repeated ones count once.", extra_json_schema=AT_LEAST_ONE),
]
ClusterGroup = Annotated[
    str,
    Meta(
        description="A further group that is searched, and in which a face without a hit in any of the groups is "
        "stored; empty or missing is none.",
        examples=["unknown-visitors"],
    ),
]
Score = Annotated[float, Meta(ge=0, le=1, description="Similarity, 1 is certain.", examples=[0.93])]
Threshold = Annotated[float, Meta(ge=0, le=1, description="Lowest score of a hit, inclusive.", examples=[0.45])]
SearchLimit = Annotated[int, Meta(ge=0, le=10000, description="Most hits; 0 or missing is 100.", examples=[5])]
Marker = Annotated[str, Meta(description="Where the next page starts; empty when this is the last one.")]
Capacity = Annotated[int, Meta(ge=1, le=10**12, description="Expected number of images.", examples=[300000])]
TtlSeconds = Annotated[
    int,
    Meta(
        ge=1,
        le=10**10,
        description="Seconds that each image is kept after it was added or last updated, rounded up to the next whole "
        "second; missing for good.",
        examples=[2592000],
    ),
]
Point = Annotated[list[int], Meta(min_length=2, max_length=2, description="[x, y] in pixels.")]
Points = Annotated[
    list[Point],
    Meta(
        min_length=4,
        max_length=4,
        description="Four corners clockwise: top left, top right, bottom right, bottom left, in pixels of the image "
        "as a person sees it (after EXIF orientation).",
        examples=[[[92, 56], [142, 56], [142, 122], [92, 122]]],
    ),
]
Count = Annotated[int, Meta(ge=0)]
SearchedImages = Annotated[list[Uri], Meta(max_length=1024, extra_json_schema=AT_LEAST_ONE)]
WithTimings = Annotated[bool, Meta(description="Whether the answer tells how long each stage took, as `timings`.")]
Milliseconds = Annotated[float, Meta(ge=0)]


# --- requests ------------------------------------------------------------------------------------


class CallParameters(Struct):
    """What more can be asked of a call."""

    timings: WithTimings | None = None


class GroupConfig(Struct):
    """Settings of a new group."""

    capacity: Capacity
    ttl_seconds: TtlSeconds | UnsetType | None = UNSET


class CreateGroup(Struct):
    """Makes a group."""

    config: GroupConfig


class DeleteImages(Struct):
    """Deletes images by id."""

    ids: Annotated[
        list[Id],
        Meta(max_length=10_000, description="Ids to delete, at most 10,000; unknown ones are left out of the answer."),
    ]


class Image(Struct):
    """An image to add or to update."""

    uri: Uri
    id: Id | None = None
    tag: Tag | None = None
    desc: Desc | UnsetType = UNSET


class PutImage(Struct):
    """Adds an image, or replaces one."""

    image: Image
    params: CallParameters | Nothing | None = None


class ScoreTerms(Struct, kw_only=True):
    """How alike hits must be, and how many there may be."""

    threshold: Threshold | None = None
    limit: SearchLimit | None = None


class SearchTerms(ScoreTerms, kw_only=True):
    """What a search is to find."""

    tag: SearchedTag | None = None
    tags: SearchedTags | None = None


class SearchImages(SearchTerms):
    """Searches a group with one or more images."""

    images: SearchedImages
    params: CallParameters | Nothing | None = None


# --- answers -------------------------------------------------------------------------------------


class Timings(Struct):
    """Milliseconds of the call by stage; stages of several images overlap, and waiting for a place counts."""

    fetch: Milliseconds | UnsetType = UNSET
    decode: Milliseconds | UnsetType = UNSET
    detect: Milliseconds | UnsetType = UNSET
    align: Milliseconds | UnsetType = UNSET
    quality: Milliseconds | UnsetType = UNSET
    embed: Milliseconds | UnsetType = UNSET
    search: Milliseconds | UnsetType = UNSET
    total: Milliseconds | UnsetType = UNSET


class Timed(Struct, kw_only=True):
    """An answer that can tell how long it took."""

    timings: (
        Annotated[Timings, Meta(description="Where `params.timings` asks for it; without stages that did not run.")]
        | UnsetType
    ) = UNSET


class Empty(Struct):
    """Done; there is nothing more to say."""


class Updated(Timed):
    """Done; there is nothing more to say."""


class GroupNames(Struct):
    """Names of all groups."""

    groups: Annotated[list[str], Meta(description="Sorted.")]


class GroupInfo(Struct):
    """A group."""

    config: GroupConfig
    tags: Annotated[Count, Meta(description="Number of distinct tags.")]
    count: Annotated[Count, Meta(description="Number of images.")]


class Deleted(Struct):
    """Which images were deleted."""

    deleted: Annotated[list[Id], Meta(description="Ids that were there and now are not.")]
    receipt: Receipt | UnsetType = UNSET


class Removed(Struct):
    """The group is gone."""

    receipt: Receipt | UnsetType = UNSET


class BoundingBox(Struct):
    """The place of a face in its image."""

    pts: Points
    score: Annotated[float, Meta(ge=0, le=1, description="Detection confidence.")] | UnsetType = UNSET


class ListedImage(Struct):
    """A stored image."""

    id: Id
    tag: Tag
    desc: Desc


class ListedFace(ListedImage):
    """A stored face."""

    bounding_box: BoundingBox


class ImagePage(Struct):
    """One page of images."""

    images: list[ListedImage]
    marker: Marker


class FacePage(Struct):
    """One page of faces."""

    images: list[ListedFace]
    marker: Marker


class TagCount(Struct):
    """A tag and how many images have it."""

    name: Tag
    count: Count


class TagPage(Struct):
    """One page of tags."""

    config: GroupConfig
    tags: list[TagCount]
    marker: Marker


class Added(Timed):
    """The image was stored."""

    id: Id


class ImageHit(Struct):
    """A stored image that is alike."""

    id: Id
    score: Score
    tag: Tag
    desc: Desc


class ImageResults(Struct):
    """Hits of one searched image."""

    results: Annotated[list[ImageHit], Meta(description="Best first.")]


class ImageSearchResults(Timed):
    """One entry per searched image, in order."""

    search_results: list[ImageResults]


class FaceQuality(Struct):
    """What a face is worth for being known again."""

    quality: Annotated[Quality, Meta(description="`clear`, or what is wrong with it.")]
    orientation: Annotated[
        Orientation, Meta(description="Where the top of the head points, in the image as a person sees it.")
    ]


class Live(Struct):
    """The process answers."""

    status: str


class PartitionKeys(Struct):
    """Whether new groups are partitioned by tag, as was decided when Milvus was first reached."""

    on: bool
    why: Annotated[str, Meta(description="A sentence: the version's limits, or how a trial went.")]


class MilvusDetails(Struct):
    """Which engine stores the groups."""

    engine: Annotated[str, Meta(description="`Milvus`, or `Milvus Lite`.")]
    version: Annotated[str, Meta(description="What it says of itself; Milvus Lite does not tell.")] | UnsetType = UNSET
    partition_keys: PartitionKeys | UnsetType = UNSET


class ReadyDetails(Struct):
    """More of a part than whether it answers."""

    milvus: MilvusDetails


class Ready(Struct):
    """Whether every part answers."""

    status: Annotated[str, Meta(description="`ready`, or `not ready`.")]
    parts: Annotated[dict[str, str], Meta(description="Each part: `ok`, or what is wrong with it.")]
    tritons: (
        Annotated[
            dict[str, str],
            Meta(
                description="Where there are several Triton servers, each by its address: `ok`, or why it gets no work."
            ),
        ]
        | UnsetType
    ) = UNSET
    details: Annotated[ReadyDetails, Meta(description="Missing until Milvus has answered once.")] | UnsetType = UNSET


class Error(Struct):
    """Every error has this shape."""

    error: Annotated[str, Meta(description="A sentence that says what is wrong and what to do.")]
    code: Annotated[str, Meta(description="A word for programs.", examples=["group_not_found"])]
    request_id: Annotated[str, Meta(description="Also in the header `X-Request-ID` and in the service's log.")]
    index: Annotated[int, Meta(ge=0, description="Position of the list item to blame.")] | UnsetType = UNSET
    face_quality: Annotated[FaceQuality, Meta(description="With `bad_face`.")] | UnsetType = UNSET
    face_number: Annotated[int, Meta(ge=2, description="With `multiple_faces`: how many.")] | UnsetType = UNSET
