"""What clients send: checked values, or sentences that say what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from app.api import face_schemas, schemas, validation
from app.api.boxes import given_box
from app.api.calibration_schemas import CalibrateGroup
from app.errors import InvalidGroupName, InvalidId, InvalidJson, InvalidMarker, InvalidRequest, LikenessError


def problem(body: bytes, kind: type[Struct]) -> LikenessError:
    with pytest.raises(InvalidRequest) as caught:
        validation.parse_body(body, kind)
    return caught.value


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b"{}", schemas.PutImage, "image is missing."),
        (b'{"image":{}}', schemas.PutImage, "image.uri is missing."),
        (b'{"image":{"uri":5}}', schemas.PutImage, "image.uri must be a string, and it is a whole number."),
        (b'{"image":{"uri":null}}', schemas.PutImage, "image.uri must be a string, and it is null."),
        (b'{"image":{"uri":""}}', schemas.PutImage, "image.uri must not be empty."),
        (b'{"image":{"uri":"x","id":7}}', schemas.PutImage, "image.id must be a string, and it is a whole number."),
        (b"[]", schemas.PutImage, "The body must be an object, and it is an array."),
        (b'{"config":{}}', schemas.CreateGroup, "config.capacity is missing."),
        (b'{"config":{"capacity":0}}', schemas.CreateGroup, "config.capacity must be at least 1."),
        (b'{"config":{"capacity":1.5}}', schemas.CreateGroup, "config.capacity must be a whole number, and it is a number."),
        (b'{"config":{"capacity":true}}', schemas.CreateGroup, "config.capacity must be a whole number, and it is true or false."),
        (b'{"images":["x"],"threshold":true}', schemas.SearchImages, "threshold must be a number, and it is true or false."),
        (b'{"images":["x"],"threshold":"0.4"}', schemas.SearchImages, "threshold must be a number, and it is a string."),
        (b'{"images":["x"],"threshold":1.01}', schemas.SearchImages, "threshold must be at most 1.0."),
        (b'{"images":["x"],"threshold":1e999}', schemas.SearchImages, "threshold: number out of range."),
        (b'{"fmr":[0.1,0]}', CalibrateGroup, "fmr[1] must be more than 0.0."),
        (b'{"fmr":[1]}', CalibrateGroup, "fmr[0] must be less than 1.0."),
        (b'{"images":["x"],"limit":10001}', schemas.SearchImages, "limit must be at most 10000."),
        (b'{"images":["x"],"limit":-1}', schemas.SearchImages, "limit must be at least 0."),
        (b'{"image":{"uri":"x","bounding_box":[1]}}', face_schemas.PutFace, "image.bounding_box must be an object, and it is an array."),
        (b'{"image":{"uri":"x"},"params":{"reject_bad_face":1}}', face_schemas.PutFace, "params.reject_bad_face must be true or false, and it is a whole number."),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit_is_refused_with_a_sentence_that_names_the_field(
    body: bytes, kind: type[Struct], sentence: str
) -> None:
    assert problem(body, kind).message == sentence


def test_a_list_item_that_does_not_fit_is_named_by_its_index() -> None:
    error = problem(b'{"images":["a","b",3]}', schemas.SearchImages)
    assert error.index == 2
    assert error.message == "images[2] must be a string, and it is a whole number."


@pytest.mark.parametrize(
    "body",
    [
        b"", b"  ", b"{", b'{"image":{"uri":"x","desc":NaN}}', b'{"image":{"uri":"x"}} more', b"\xff\xfe",
        b'{"image":{"uri":"\xff"}}', b'{"image":{"uri":"x","id":"\\ud800"}}',
        b'{"image":{"uri":"x","desc":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        validation.parse_body(body, schemas.PutImage)


@pytest.mark.parametrize("body", [b'{"image":{"uri":"x"}}', b'{"image":{"uri":"x","bounding_box":{}},"params":{}}',
                                  b'{"image":{"uri":"x","bounding_box":[]},"params":[],"more":1}',
                                  b'{"image":{"uri":"x","id":null,"tag":null,"bounding_box":null},"params":null}'])  # fmt: skip
def test_unknown_fields_are_ignored_and_empty_ones_mean_not_given(body: bytes) -> None:
    image = validation.parse_body(body, face_schemas.PutFace).image
    assert given_box(image.bounding_box, field="box") is None
    assert (validation.image_id(image.id), validation.tag(image.tag), validation.desc(image.desc)) == (
        "",
        "default",
        "{}",
    )


@pytest.mark.parametrize("name", ["abc", "a-1", "pets_2", "a" * 32, "multi-x"])
def test_good_group_names_are_taken(name: str) -> None:
    assert validation.group_name(name, faces=True) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "Abc", "1abc", "-abc", "a b", "abc\n", "äbc", "a" * 33, "../etc", "a.b", "a'b"]
)
def test_bad_group_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidGroupName):
        validation.group_name(name, faces=False)


def test_the_name_multi_is_reserved_for_faces_only() -> None:
    assert validation.group_name("multi", faces=False) == "multi"
    with pytest.raises(InvalidGroupName):
        validation.group_name("multi", faces=True)


def test_the_groups_of_a_search_in_several_count_once_and_are_one_to_five() -> None:
    names = ["abc", "abd", "abc", "abe", "abf", "abg", "abd"]
    assert validation.searched_groups(names) == ["abc", "abd", "abe", "abf", "abg"]
    for wrong in ([], [*names, "abh"]):
        with pytest.raises(InvalidRequest, match="1 to 5"):
            validation.searched_groups(wrong)
    for reserved in ("multi", "", "A b"):
        with pytest.raises(InvalidGroupName) as caught:
            validation.searched_groups(["abc", reserved])
        assert caught.value.index == 1


@pytest.mark.parametrize(
    "value", ['it\'s "x"', "back\\slash", "line\nfeed", "tab\t", "cr\r", "漢字", "🙂" * 1024, "a" * 4096]
)
def test_ids_of_any_characters_are_taken(value: str) -> None:
    assert validation.image_id(value) == value


@pytest.mark.parametrize("value", ["nul\x00", "bell\x07", "delete\x7f", "a" * 4097, "🙂" * 1025])
def test_ids_with_control_characters_or_too_many_bytes_are_refused(value: str) -> None:
    with pytest.raises(InvalidId):
        validation.image_id(value)


def test_an_update_without_an_id_is_refused() -> None:
    for missing in (None, ""):
        with pytest.raises(InvalidRequest, match=r"image\.id is missing"):
            validation.required_id(missing)


def test_a_tag_is_at_most_256_bytes() -> None:
    assert validation.tag("é" * 128) == "é" * 128
    with pytest.raises(InvalidRequest):
        validation.tag("é" * 128 + "x")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b' {"b" : 1, "a": [1.0, 2 ] } ', '{"b":1,"a":[1.0,2]}'),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
        (b"1e400", "1e400"),
        (b'"\\u00e9\\n"', '"\\u00e9\\n"'),
        (b"true", "true"), (b"[]", "[]"), (b"null", "{}"),
    ],
)  # fmt: skip
def test_a_description_is_kept_as_it_was_written_but_for_white_space(sent: bytes, kept: str) -> None:
    assert validation.desc(Raw(sent)) == kept


def test_a_description_may_have_64_kib_and_no_more() -> None:
    assert len(validation.desc(Raw(b'"' + b"x" * 65534 + b'"'))) == 65536
    with pytest.raises(InvalidRequest, match="65537 bytes"):
        validation.desc(Raw(b'"' + b"x" * 65535 + b'"'))


@pytest.mark.parametrize(
    ("body", "threshold", "limit", "tags"),
    [
        (b'{"images":["x"]}', 0.3, 100, ()),
        (b'{"images":["x"],"threshold":null,"limit":0,"tag":"","tags":[]}', 0.3, 100, ()),
        (b'{"images":["x"],"threshold":0,"limit":7,"tag":"a"}', 0.0, 7, ("a",)),
        (b'{"images":["x"],"tags":["b","a","b"],"tag":"a"}', 0.3, 100, ("a", "b")),
        (b'{"images":["x"],"tags":["b"],"tag":null}', 0.3, 100, ("b",)),
    ],
)
def test_the_terms_of_a_search_are_read_and_what_is_empty_was_not_given(
    body: bytes, threshold: float, limit: int, tags: tuple[str, ...]
) -> None:
    sent = validation.parse_body(body, schemas.SearchImages)
    terms = validation.terms(sent, default_threshold=0.3)
    assert (terms.threshold, terms.limit, terms.tags) == (threshold, limit, tags)


@pytest.mark.parametrize(
    ("tags", "index"),
    [(["a", ""], 1), (["x" * 257], None), (["a", "nul\x00"], None), ([str(number) for number in range(101)], None)],
)
def test_tags_that_no_image_can_bear_or_that_are_too_many_are_refused(tags: list[str], index: int | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validation.terms(schemas.SearchImages(images=["x"], tags=tags), default_threshold=0.3)
    assert caught.value.index == index


@pytest.mark.parametrize(("text", "size"), [("", 1000), ("0", 1000), ("1", 1), ("1000", 1000)])
def test_a_page_size_is_read(text: str, size: int) -> None:
    assert validation.page_limit({"limit": text}) == size


@pytest.mark.parametrize("text", ["-1", "1001", "ten", "1.5", "9" * 5000, "１"])
def test_a_page_size_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="limit must be"):
        validation.page_limit({"limit": text})


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
def test_a_marker_comes_back_as_the_key_it_was_made_of(key: str) -> None:
    marker = validation.make_marker(key)
    assert validation.read_marker({"marker": marker}) == key
    assert marker.replace("-", "").replace("_", "").isalnum()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=50), st.data())
def test_a_marker_that_was_cut_or_altered_is_refused(key: str, data: st.DataObject) -> None:
    marker = validation.make_marker(key)
    cut = data.draw(st.integers(min_value=1, max_value=len(marker) - 1))
    with pytest.raises(InvalidMarker):
        validation.read_marker({"marker": marker[:cut] + "*"})
    with pytest.raises(InvalidMarker):
        validation.read_marker({"marker": marker[:cut]})


def test_no_marker_means_the_first_page_and_no_further_page_means_no_marker() -> None:
    assert validation.read_marker({}) is None
    assert validation.read_marker({"marker": ""}) is None
    assert validation.make_marker(None) == ""


def test_a_description_may_be_wide_but_not_endlessly_deep() -> None:
    wide = b"[" + b",".join([b'{"[[\\"{":[]}'] * 900) + b"]"
    assert validation.desc(Raw(wide)) == wide.decode()
    deep = b"[" * 500 + b"]" * 500
    assert validation.desc(Raw(deep)) == deep.decode()
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(InvalidRequest, match="nested"):
            validation.desc(Raw(opening * 501 + b"1" + closing * 501))
