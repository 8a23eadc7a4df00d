"""Texts: any id, tag and desc that the API lets through stays exactly what it is, and selects nothing else."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from tests.rows import record, walk

Change = Callable[[], Awaitable[None]]
OpenStore = Callable[..., GroupStore]

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
IMAGE = Family.IMAGE
STRANGE_IDS = [
    'quote"s',
    "apostrophe's",
    "two''apostrophes",
    "') or 1=1 --",
    "back\\slash",
    'both\\"',
    "trailing\\",
    "new\nline",
    "carriage\rreturn",
    "tab\tstop",
    "literal \\n",
    "人脸/图片 一.jpg",
    "😀👩‍👩‍👧",
    "ｚ",
    "é",
    "e\u0301",
    "https://example.org/a?b=c&d=%22#e",
    '" or id != "',
    "a%_b*",
    "{0} {id} $x",
    "x" * 4096,
    "中" * 1365 + "z",
    "\\" * 4096,
    '"' * 4095 + "z",
]


def listed(names: list[str]) -> list[str]:
    """Listing order: byte order, but an apostrophe comes before a space."""
    return sorted(names, key=lambda name: name.replace("'", "\x1f"))


async def test_strange_ids_and_tags_stay_what_they_are(store: GroupStore, filled: str) -> None:
    for number, name in enumerate(STRANGE_IDS):
        await store.add(IMAGE, filled, record(name, tag=name[:60], desc=str(number)))
    rows = await walk(store, filled, limit=3)
    assert [row.id for row in rows] == listed(STRANGE_IDS)
    for number, name in enumerate(STRANGE_IDS):
        assert await store.contains(IMAGE, filled, name)
        assert [row.id for row in await walk(store, filled, tag=name[:60], limit=5)] == [
            each for each in listed(STRANGE_IDS) if each[:60] == name[:60]
        ]
        assert (await store.row(IMAGE, filled, name)).desc == str(number)
        [hits] = await store.search(
            IMAGE, filled, np.array([[1, 1, 0, 0]], np.float32), limit=100, bound=1.0, tags=[name[:60]]
        )
        assert {hit.row.id for hit in hits} == {each for each in STRANGE_IDS if each[:60] == name[:60]}
        await store.update(IMAGE, filled, record(name, tag="t", desc=str(-number)))
    assert {row.id: row.desc for row in await walk(store, filled, tag="t", limit=1000)} == {
        name: str(-number) for number, name in enumerate(STRANGE_IDS)
    }
    for number, name in enumerate(STRANGE_IDS):
        assert await store.delete(IMAGE, filled, [name]) == [name]
        assert (await store.info(IMAGE, filled)).count == len(STRANGE_IDS) - number - 1


# What the API lets through: any text without control characters other than newline, return and tab.
_TEXT = st.text(
    st.one_of(st.sampled_from("\\\"\n\r\t'nrt%_ x"), st.characters(exclude_categories=["Cc", "Cs"])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_TEXT, min_size=1, max_size=12, unique=True))
async def test_any_text_selects_itself_and_nothing_else(store: GroupStore, filled: str, texts: list[str]) -> None:
    await asyncio.gather(*(store.add(IMAGE, filled, record(text, tag=text)) for text in texts))
    for text in texts:
        assert [row.id for row in await walk(store, filled, tag=text, limit=10)] == [text]
    assert [row.id for row in await walk(store, filled, limit=5)] == listed(texts)
    assert await store.delete(IMAGE, filled, texts) == texts
    assert await walk(store, filled, limit=10) == []


@pytest.mark.parametrize(
    "desc",
    [
        "{}",
        "[]",
        '""',
        "null",
        "false",
        "0",
        "-1.50e+300",
        "123456789012345678901234567890",
        '"it\'s"',
        '{"b":1,"a":{"z":[1,2.0,null]},"b":2}',
        '"\\ud800 \\u0000 \\"quoted\\" 中 😀"',
        '{"k":"' + "x" * 65_528 + '"}',
        '["' + "中" * 21_844 + '"]',
    ],
    ids=lambda desc: desc[:24].encode("ascii", "replace").decode(),
)
async def test_desc_comes_back_byte_for_byte(store: GroupStore, filled: str, desc: str) -> None:
    assert json.loads(desc) is not ...
    assert len(desc.encode()) <= 65_536
    await store.add(IMAGE, filled, record("a", desc=desc))
    assert (await store.rows(IMAGE, filled, tag=None, after=None, limit=1)).items[0].desc == desc
    (hits,) = await store.search(IMAGE, filled, np.ones((1, 4), np.float32), limit=1, bound=10.0)
    assert hits[0].row.desc == desc


async def test_a_full_page_of_the_largest_rows_can_be_read(store: GroupStore, filled: str) -> None:
    desc = '"' + "d" * 65_534 + '"'
    names = [f"{number:04d}" for number in range(1000)]
    for start in range(0, 1000, 50):
        await asyncio.gather(*(store.add(IMAGE, filled, record(name, desc=desc)) for name in names[start : start + 50]))
    page = await store.rows(IMAGE, filled, tag=None, after=None, limit=1000)
    assert [row.id for row in page.items] == names
    assert page.after is None
    assert {row.desc for row in page.items} == {desc}
    (hits,) = await store.search(IMAGE, filled, np.array([[1, 1, 0, 0]], np.float32), limit=10_000, bound=1.0)
    assert [hit.row.id for hit in hits] == names
    assert {hit.row.desc for hit in hits} == {desc}


async def test_strange_ids_that_were_replaced_or_deleted_stay_so_after_a_crash(
    kill: Change, start: Change, open_store: OpenStore, group: str
) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix) as store:
        await store.create(IMAGE, group, capacity=10, space=SPACE)
        for name in STRANGE_IDS:
            await store.add(IMAGE, group, record(name, desc="1"))
        for name in STRANGE_IDS[::2]:
            await store.update(IMAGE, group, record(name, desc="2"))
        for name in STRANGE_IDS[1::2]:
            assert await store.delete(IMAGE, group, [name]) == [name]
    await kill()
    await start()
    async with open_store(prefix=prefix) as store:
        rows = await walk(store, group, limit=1000)
        assert {row.id: row.desc for row in rows} == dict.fromkeys(STRANGE_IDS[::2], "2")
        assert len(rows) == (await store.info(IMAGE, group)).count == len(STRANGE_IDS[::2])
