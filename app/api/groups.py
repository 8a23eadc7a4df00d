"""The life of groups over HTTP, alike for both families."""

from __future__ import annotations

from msgspec import UNSET

from app.access.key import KeyRole
from app.api import schemas, validation
from app.api.operations import Call, Operation, Parameter
from app.api.rows import bounding_box, raw
from app.errors import GroupExists, GroupNotFound, ImageNotFound
from app.services.groups import Groups
from app.store.records import Family, GroupInfo, Row

_PAGING = (
    Parameter("marker", "string", "The `marker` of the page before; empty or missing starts at the beginning."),
    Parameter("limit", "integer", "Most entries of the page, 1 to 1000; 0 or missing is 1000.", most=1000),
)
_RECEIPT = Parameter(
    "receipt", "boolean", "Whether the answer has a receipt, which tells what was deleted without naming it."
)
_DESC = {"name": "Tom", "year": 2024}
_BOX = {"pts": [[92, 56], [142, 56], [142, 122], [92, 122]], "score": 0.87}


def group_operations(family: Family) -> list[Operation]:
    """The operations on groups of one family."""
    faces = family is Family.FACE
    base = f"/v1/{family}/groups"
    one = f"{base}/{{name}}"
    tag = "Face groups" if faces else "Image groups"
    noun = "Face" if faces else "Image"
    listed: dict[str, object] = {"id": "photos/cat.jpg", "tag": "cats", "desc": _DESC}
    if faces:
        listed["bounding_box"] = _BOX

    def groups(call: Call) -> Groups:
        return call.services.face_groups if faces else call.services.image_groups

    def name(call: Call) -> str:
        return validation.group_name(call.path["name"], faces=faces)

    async def create(call: Call) -> schemas.Empty:
        config = call.body.config
        await groups(call).create(name(call), capacity=config.capacity, ttl_seconds=config.ttl_seconds or None)
        return schemas.Empty()

    async def names(call: Call) -> schemas.GroupNames:
        return schemas.GroupNames([each for each in await groups(call).names() if call.caller.sees(family, each)])

    async def info(call: Call) -> schemas.GroupInfo:
        found = await groups(call).info(name(call))
        return schemas.GroupInfo(_config(found), found.tags, found.count)

    async def remove(call: Call) -> schemas.Removed:
        group = name(call)
        count = await groups(call).remove(group, count=validation.flag(call.query, "receipt"))
        if count is None:
            return schemas.Removed()
        return schemas.Removed(call.services.receipts.of_removed(family, group, count, key=call.caller.key_id))

    async def delete(call: Call) -> schemas.Deleted:
        ids = validation.some(call.body.ids, field="ids")
        possible = [each for each in ids if validation.is_possible_id(each)]
        wanted, group = validation.flag(call.query, "receipt"), name(call)
        deleted = await groups(call).delete(group, possible)
        if not wanted:
            return schemas.Deleted(deleted)
        receipt = call.services.receipts.of_deleted(family, group, deleted, key=call.caller.key_id)
        return schemas.Deleted(deleted, receipt)

    async def images(call: Call) -> schemas.ImagePage | schemas.FacePage:
        wanted = call.query.get("tag") or None
        page = await groups(call).rows(
            name(call),
            tag=validation.tag(wanted, field="tag") if wanted else None,
            after=validation.read_marker(call.query),
            limit=validation.page_limit(call.query),
        )
        marker = validation.make_marker(page.after)
        if faces:
            return schemas.FacePage([_listed_face(row) for row in page.items], marker)
        return schemas.ImagePage([_listed_image(row) for row in page.items], marker)

    async def image(call: Call) -> schemas.ListedImage:
        row = await groups(call).row(name(call), validation.image_id(call.path["id"], field="The id"))
        return _listed_face(row) if faces else _listed_image(row)

    async def tags(call: Call) -> schemas.TagPage:
        found, page = await groups(call).tags(
            name(call), after=validation.read_marker(call.query), limit=validation.page_limit(call.query)
        )
        return schemas.TagPage(
            _config(found),
            [schemas.TagCount(item.name, item.count) for item in page.items],
            validation.make_marker(page.after),
        )

    return [
        Operation(
            "POST",
            one,
            f"create{noun}Group",
            tag,
            "Make a group",
            create,
            schemas.Empty,
            body=schemas.CreateGroup,
            doc="`capacity` is the expected number of images; the group grows past it by itself. `ttl_seconds`, where "
            "it is given, is how long each image is kept; it cannot be changed later.",
            errors=(GroupExists,),
            body_example={"config": {"capacity": 300000}},
            role=KeyRole.WRITE,
        ),
        Operation(
            "GET",
            base,
            f"list{noun}Groups",
            tag,
            "List all groups",
            names,
            schemas.GroupNames,
            answer_example={"groups": ["pets", "products"]},
            role=KeyRole.READ,
        ),
        Operation(
            "GET",
            one,
            f"get{noun}Group",
            tag,
            "Look at a group",
            info,
            schemas.GroupInfo,
            errors=(GroupNotFound,),
            answer_example={"config": {"capacity": 300000}, "tags": 1, "count": 2},
            role=KeyRole.READ,
        ),
        Operation(
            "POST",
            f"{one}/remove",
            f"remove{noun}Group",
            tag,
            "Remove a group with all that is in it",
            remove,
            schemas.Removed,
            doc="The name can be used again at once.",
            query=(_RECEIPT,),
            errors=(GroupNotFound,),
            role=KeyRole.ADMIN,
        ),
        Operation(
            "POST",
            f"{one}/delete",
            f"delete{noun}s",
            tag,
            "Delete images by id",
            delete,
            schemas.Deleted,
            body=schemas.DeleteImages,
            query=(_RECEIPT,),
            errors=(GroupNotFound,),
            body_example={"ids": ["photos/cat.jpg", "unknown"]},
            answer_example={"deleted": ["photos/cat.jpg"]},
            role=KeyRole.WRITE,
        ),
        Operation(
            "GET",
            f"{one}/images",
            f"listGroup{noun}s",
            tag,
            "List what is in a group",
            images,
            schemas.FacePage if faces else schemas.ImagePage,
            doc="A full walk returns every image once, in a stable order.",
            query=(Parameter("tag", "string", "Only images of this tag."), *_PAGING),
            errors=(GroupNotFound,),
            answer_example={"images": [listed], "marker": ""},
            role=KeyRole.READ,
        ),
        Operation(
            "GET",
            f"{one}/images/{{id}}",
            f"getGroup{noun}",
            tag,
            "Look at one image of a group",
            image,
            schemas.ListedFace if faces else schemas.ListedImage,
            doc="The id is percent-encoded, its slashes too: `photos/cat.jpg` is written `photos%2Fcat.jpg`.",
            errors=(GroupNotFound, ImageNotFound),
            answer_example=listed,
            role=KeyRole.READ,
        ),
        Operation(
            "GET",
            f"{one}/tags",
            f"list{noun}Tags",
            tag,
            "List the tags in a group",
            tags,
            schemas.TagPage,
            query=_PAGING,
            errors=(GroupNotFound,),
            answer_example={
                "config": {"capacity": 300000},
                "tags": [{"name": "cats", "count": 2}],
                "marker": "",
            },
            role=KeyRole.READ,
        ),
    ]


def _config(info: GroupInfo) -> schemas.GroupConfig:
    return schemas.GroupConfig(info.capacity, UNSET if info.ttl_seconds is None else info.ttl_seconds)


def _listed_image(row: Row) -> schemas.ListedImage:
    return schemas.ListedImage(row.id, row.tag, raw(row.desc))


def _listed_face(row: Row) -> schemas.ListedFace:
    return schemas.ListedFace(row.id, row.tag, raw(row.desc), bounding_box(row.bounding_box))
