"""The log: lines for people or for machines, each with its request's id, none with what is nobody's business."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.log import FIELDS, name_request, set_up_logging, without_secrets
from app.services.threads import in_thread


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Leaves the loggers as the tests before had them."""
    root, own = logging.getLogger(), logging.getLogger("likeness")
    handlers, levels = root.handlers[:], (root.level, own.level)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    name_request("")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def failing() -> None:
    raise ValueError("at http://host/path?token=secret")


async def test_each_line_bears_the_id_of_the_request_that_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    log = logging.getLogger("likeness.test")
    with ThreadPoolExecutor(1) as threads:

        async def request(id: str) -> None:
            name_request(id)
            log.info("%s", id)
            await asyncio.create_task(write(id))
            await in_thread(threads, lambda: log.info("%s", id))

        async def write(id: str) -> None:
            log.info("%s", id)
            logging.getLogger("somebody.elses").warning("%s", id)

        await asyncio.gather(*(asyncio.create_task(request(each)) for each in ("a", "b", "c")))
        log.info("nobody")
    found = lines(capsys)
    assert len(found) == 13
    assert all(line.get("request_id", "nobody") == line["message"] for line in found)


def test_a_line_for_machines_has_its_fields_beside_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    logging.getLogger("likeness.access").info("GET / 200", extra={FIELDS: {"status": 200, "stages": {"fetch": 0.3}}})
    [line] = lines(capsys)
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {
        "level": "info", "logger": "likeness.access", "message": "GET / 200", "status": 200, "stages": {"fetch": 0.3},
    }  # fmt: skip


def test_a_traceback_stays_on_the_line_of_a_machine_and_follows_that_of_a_person(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for form in ("json", "human"):
        set_up_logging("info", form)
        try:
            failing()
        except ValueError:
            logging.getLogger("likeness.test").exception("It failed")
    machine, person, *trace = capsys.readouterr().err.splitlines()
    assert "ValueError: at http://host/path?…" in json.loads(machine)["exception"]
    assert person.endswith("ERROR   likeness.test: It failed")
    assert trace[-1] == "ValueError: at http://host/path?…"


def test_a_line_for_people_shows_the_id_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    name_request("mine")
    logging.getLogger("likeness.test").info("done")
    assert capsys.readouterr().err.endswith("INFO    likeness.test: [mine] done\n")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Cannot fetch https://host:8443/a/b.jpg?sig=1&x=2#y, sorry", "Cannot fetch https://host:8443/a/b.jpg?… sorry"),
        ("url='http://host/?a'", "url='http://host/?…'"),
        ("http://user:pass@host/a", "http://host/a"),
        ("no address: 50 % of 1/2?", "no address: 50 % of 1/2?"),
        ("uri data:image/png;base64,iVBORw0KGgo= is bad", "uri data:… is bad"),
        ("'http://a/?x' 'http://b/c'", "'http://a/?…' 'http://b/c'"),
    ],
)
def test_secrets_are_cut_out(said: str, told: str) -> None:
    assert without_secrets(said) == told
