"""Capacity: each formula by hand on small numbers, and a plan that grows where the demand does."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import yaml

from app.cli import main
from app.commands import figures
from app.commands.capacity import Demand, face_bytes, plan
from app.errors import OperatorError
from app.store.engine import Engine
from app.store.profile import profile_for
from app.store.records import BoundingBox, EmbeddingSpace, Family, Metric, Record, Row
from app.store.registry import Registration
from app.store.rows import Rows

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


def test_a_face_is_its_vector_its_links_its_texts_and_its_record() -> None:
    # M = 3: 6 links below, and half a layer more with 3 links and their number.
    small = face_bytes(10, 3, 100)
    assert (small.vector, small.metadata) == (40, 100)
    assert small.graph == pytest.approx(4 * 6 + 12 + 0.5 * (4 * 3 + 4))
    assert small.in_memory == pytest.approx(40 + 44 + 100 + figures.RECORD.value)
    assert small.stored == pytest.approx(40 + 100 + 40 + 44)


def test_the_graph_lies_where_the_library_says() -> None:
    # hnswlib, ALGO_PARAMS.md: M times 8 to 10 bytes for each element.
    for links in (8, 16, 32, 64):
        assert 8 * links <= face_bytes(128, links, 0).graph <= 10 * links + 4


def test_the_plan_takes_the_links_that_the_store_makes() -> None:
    assert profile_for("v2.6.16").index.params["M"] == Demand(1, 1).links


def test_the_texts_of_an_ordinary_face_have_room() -> None:
    space = EmbeddingSpace("m", 4, Metric.L2)
    registration = Registration.now(Family.FACE, "g", capacity=1, space=space, collection="c")
    box = BoundingBox(((1180, 1058), (1271, 1058), (1271, 1176), (1180, 1176)), 0.911164)
    row = Row("people/eileen-collins-0017.jpg", "crew", '{"name":"Eileen Collins"}', box)
    engine = SimpleNamespace(profile=profile_for(None))  # no engine is asked
    rows = Rows(cast(Engine, engine), registration)
    fields = rows._encoded(Record(row, np.ones(4, np.float32)))
    texts = sum(len(str(value).encode()) for name, value in fields.items() if name != "embedding")
    assert 100 < texts < Demand(1, 1).metadata


def test_memory_nodes_and_cores_follow_from_the_figures() -> None:
    face = face_bytes(128, 16, 256)
    demand = Demand(faces=10_000_000, qps=100, faces_per_image=2, copies=2, node_memory=GIB, node_cores=4)
    found = plan(demand).milvus
    assert found.memory == pytest.approx(2 * 10_000_000 * face.in_memory)
    assert found.segments == -(-10_000_000 // (GIB // (512 + 256)))
    assert found.search_cores == pytest.approx(100 * 2 * found.segments * figures.SEARCH.value / 1000)
    assert found.nodes_for_memory == -int(-found.memory // (GIB * 0.9))
    assert found.nodes == max(found.nodes_for_memory, found.nodes_for_cores)
    assert found.storage == pytest.approx(2 * 10_000_000 * face.stored)


def test_images_take_the_service_and_triton_or_gpus() -> None:
    on_cores = plan(Demand(faces=1, qps=55, adds=40, service_cores=1, triton_cores=10)).inference
    assert on_cores.images == 95
    assert on_cores.service_cores == pytest.approx(figures.SERVICE.value * 0.095)
    assert on_cores.triton_cores == pytest.approx(figures.TRITON.value * 0.095)
    assert on_cores.service_replicas == -int(-on_cores.service_cores // 0.6)
    on_gpus = plan(Demand(faces=1, qps=55, adds=40, gpu_images=50)).inference
    assert (on_gpus.triton_cores, on_gpus.triton_replicas) == (0, 4)


@pytest.mark.parametrize("name", ["faces", "qps", "dimension", "links", "metadata", "faces_per_image"])
def test_more_of_anything_is_never_less_of_everything(name: str) -> None:
    few = Demand(faces=50_000_000, qps=500)
    value = getattr(few, name)
    many = dataclasses.replace(few, **{name: value * 4})
    before, after = plan(few), plan(many)
    assert after.milvus.nodes >= before.milvus.nodes
    assert after.milvus.memory >= before.milvus.memory
    assert after.inference.service_replicas >= before.inference.service_replicas
    assert after != before


def test_tags_make_a_search_cheaper_and_copies_a_node_dispensable() -> None:
    whole = plan(Demand(faces=10**9, qps=10)).milvus
    tagged = plan(Demand(faces=10**9, qps=10, searched=1 / 64)).milvus
    assert tagged.searched_segments == -(-whole.segments // 64)
    assert tagged.memory == whole.memory
    assert plan(Demand(faces=1, qps=0, copies=2)).milvus.nodes == 2


@pytest.mark.parametrize(
    "wrong",
    [{"faces": 0}, {"qps": -1}, {"links": 1}, {"searched": 0}, {"searched": 1.5}, {"gpu_images": 0}, {"segment": 100}],
)
def test_a_demand_that_cannot_be_is_refused_with_a_sentence(wrong: dict[str, float]) -> None:
    demand = {"faces": 10, "qps": 1} | wrong
    with pytest.raises(OperatorError, match=r"\.$"):
        plan(Demand(**demand))  # type: ignore[arg-type]


def test_every_figure_says_where_it_is_from() -> None:
    for figure in figures.ALL.values():
        assert figure.value > 0
        assert figure.source.split()[0].rstrip(":,") in {"measured", "chosen", "hnswlib", "Milvus"}
        for module in re.findall(r"python -m ([\w.]+)", figure.source):
            assert (ROOT / (module.replace(".", "/") + ".py")).exists()


def test_json_has_the_demand_the_plan_and_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--faces", "1e6", "--qps", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["demand"] == json.loads(json.dumps(dataclasses.asdict(Demand(faces=10**6, qps=5))))
    assert document["plan"]["milvus"] == json.loads(json.dumps(dataclasses.asdict(plan(Demand(10**6, 5)).milvus)))
    assert document["figures"].keys() == figures.ALL.keys()


def test_the_values_for_milvus_are_those_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "deploy/milvus/values.yaml").read_text()
    command = re.search(r"`likeness (plan [^`]+)`", text)
    assert command is not None
    assert main([*command[1].split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    node = yaml.safe_load(text)["queryNode"]
    assert node["replicas"] == document["plan"]["milvus"]["nodes"]
    assert node["resources"]["limits"]["memory"] == f"{document['demand']['node_memory'] // GIB}Gi"
    assert node["resources"]["requests"]["cpu"] == str(document["demand"]["node_cores"])


def test_the_table_of_the_page_is_that_of_the_formula() -> None:
    text = (ROOT / "docs/scaling.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for dimension, *cells in rows:
        narrow, wide = (face_bytes(int(dimension), links, 256) for links in (16, 32))
        bare = narrow.in_memory - narrow.graph
        assert cells == [f"{bytes_:,.0f}" for bytes_ in (narrow.in_memory, wide.in_memory, bare)]
