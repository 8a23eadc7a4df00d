"""Turns among processes: exclusion, order, generations, and what becomes of a holder that dies or is cut off.

Each scenario runs on files of this machine and on a real Redis; the holders share nothing but these.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.errors import BackendUnavailable, IdExists, OperatorError
from app.store.lock_folder import LockFolder
from app.store.redis_turns import RedisTurns
from app.store.sharing import turns_at
from app.store.turns import Turns

pytestmark = pytest.mark.asyncio(loop_scope="session")

VALID_S = 1.0
GRACE_S = 0.2


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "there is no redis-server: install Debian's package of that name"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        assert process.poll() is None, "Redis ended at once"
        assert time.monotonic() < deadline, "Redis did not start"
        time.sleep(0.02)
    yield f"redis://127.0.0.1:{port}/0"
    process.kill()
    process.wait()


@pytest.fixture(params=["folder", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a scenario's turns are kept."""
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("redis_url"))


Opener = Callable[[], Turns]


@pytest_asyncio.fixture(loop_scope="session")
async def another(place: str) -> AsyncIterator[Opener]:
    """Opens turns as one more process would."""
    domain = secrets.token_hex(4)
    opened: list[Turns] = []

    def one() -> Turns:
        redis = place.startswith("redis")
        turns: Turns = LockFolder(Path(place) / domain, grace_s=GRACE_S)
        if redis:
            turns = RedisTurns(place, domain, valid_s=VALID_S, grace_s=GRACE_S)
        opened.append(turns)
        return turns

    yield one
    for each in opened:
        await each.close()


async def test_readers_share_and_writers_exclude_all_others_whoever_they_are(another: Opener) -> None:
    readers = writers = most_readers = 0
    dice = random.Random(3)

    async def process(turns: Turns) -> None:
        nonlocal readers, writers, most_readers
        for _ in range(12):
            if dice.random() < 0.6:
                async with turns.reading("g"):
                    readers += 1
                    most_readers = max(most_readers, readers)
                    assert writers == 0
                    await asyncio.sleep(0.002)
                    readers -= 1
            else:
                async with turns.writing("g"):
                    writers += 1
                    assert (readers, writers) == (0, 1)
                    await asyncio.sleep(0.002)
                    writers -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(process(another()))
    assert most_readers > 1


async def test_neither_a_stream_of_readers_nor_one_of_writers_keeps_the_other_out(another: Opener) -> None:
    going = True

    async def stream(turns: Turns, *, write: bool) -> None:
        while going:
            async with turns.writing("g") if write else turns.reading("g"):
                await asyncio.sleep(0.005)

    for write in (False, True):
        going = True
        tasks = [asyncio.create_task(stream(another(), write=write)) for _ in range(4)]
        await asyncio.sleep(0.02)
        other = another()
        async with asyncio.timeout(20), other.reading("g") if write else other.writing("g"):
            pass
        going = False
        await asyncio.gather(*tasks)


async def test_a_generation_changes_with_each_write_and_with_nothing_else(another: Opener) -> None:
    one, two = another(), another()
    assert await one.generation("g") == 0
    async with one.writing("g") as first:
        assert first.before == 0
        assert await two.generation("g") == first.after != 0
    async with two.reading("g") as seen:
        assert seen == first.after
    with contextlib.suppress(IdExists):
        async with two.writing("g") as second:
            assert second.before == first.after
            raise IdExists
    async with one.reading("g") as seen:
        assert seen == second.after != first.after
    assert await one.generation("h") == 0


async def test_a_waiter_that_is_cancelled_leaves_no_trace(another: Opener) -> None:
    one, two, three = another(), another(), another()
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        async with two.writing("g"):
            raise AssertionError("it is not its turn")

    async with one.reading("g"):
        writer = asyncio.create_task(wait())
        await waiting.wait()
        await asyncio.sleep(0.05)
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        async with asyncio.timeout(1), three.reading("g"):
            pass  # no writer stands before it any more
    async with asyncio.timeout(1), three.writing("g"):
        pass


async def test_a_name_is_claimed_once_until_it_is_given_back(another: Opener) -> None:
    one, two = another(), another()
    release = await one.claim("face/new")
    assert release is not None
    assert await two.claim("face/new") is None
    other = await two.claim("face/other")
    assert other is not None
    await asyncio.sleep(1.5 * VALID_S)  # longer than it is valid without being renewed
    assert await two.claim("face/new") is None
    await release()
    again = await two.claim("face/new")
    assert again is not None
    await again()
    await other()


HOLDER = """
    import asyncio, sys
    from pathlib import Path
    from app.store.lock_folder import LockFolder
    from app.store.redis_turns import RedisTurns

    async def main():
        place, domain = sys.argv[1:]
        redis = place.startswith("redis")
        turns = RedisTurns(place, domain, valid_s=1.0) if redis else LockFolder(Path(place) / domain, grace_s=0.05)
        async with turns.writing("g") as turn:
            await turns.claim("face/new")
            print(turn.after, flush=True)
            await asyncio.sleep(3600)

    asyncio.run(main())
"""


async def test_the_turn_of_a_killed_writer_ends_and_whoever_comes_next_sees_that_it_wrote(
    place: str, tmp_path: Path
) -> None:
    domain = secrets.token_hex(4)
    code = textwrap.dedent(HOLDER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, place, domain, stdout=asyncio.subprocess.PIPE
    )
    redis = place.startswith("redis")
    turns: Turns = RedisTurns(place, domain, valid_s=1.0) if redis else LockFolder(Path(place) / domain, grace_s=0.05)
    try:
        assert process.stdout is not None
        generation = int(await process.stdout.readline())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2), turns.reading("g"):  # longer than a turn is valid without being renewed
                raise AssertionError("a writer has it")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with asyncio.timeout(10), turns.reading("g") as seen:
            # What the writer had asked of Milvus may have been under way still: files are told apart from it once more.
            assert seen == generation if redis else seen not in (0, generation)
        async with asyncio.timeout(10):
            while await turns.claim("face/new") is None:
                await asyncio.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await turns.close()


async def test_a_write_whose_answer_was_lost_makes_the_next_turn_wait(another: Opener) -> None:
    one, two = another(), another()
    for _ in range(2):
        with contextlib.suppress(BackendUnavailable):
            async with one.writing("g"):
                raise BackendUnavailable("Milvus does not answer.")
        began = time.monotonic()
        async with two.writing("g") as turn:
            assert time.monotonic() - began >= 0.9 * GRACE_S
        async with one.reading("g") as seen:
            assert seen == turn.after


async def test_a_crowd_of_callers_is_served_and_leaves_nothing_behind(another: Opener) -> None:
    one, two = another(), another()
    inside = 0

    async def read() -> None:
        nonlocal inside
        async with one.reading("g"):
            inside += 1
            await asyncio.sleep(0.01)

    await asyncio.gather(*(read() for _ in range(150)))
    assert inside == 150
    async with asyncio.timeout(VALID_S / 2), two.writing("g"):
        pass


async def test_what_was_lost_with_the_state_of_a_name_is_noticed(another: Opener, place: str) -> None:
    one, two = another(), another()
    for _ in range(2):
        async with one.reading("g") as before:
            assert before != 0
        async with two.writing("g"):
            pass
        await forget(one, place)
        async with one.reading("g") as after:
            assert after not in (0, before)


async def forget(turns: Turns, place: str) -> None:
    """As a restart of Redis does, or whoever cleans a folder."""
    if isinstance(turns, RedisTurns):
        await turns._redis.flushdb()
    else:
        shutil.rmtree(place)


async def test_a_turn_that_redis_has_forgotten_ends_its_write(redis_url: str) -> None:
    turns = RedisTurns(redis_url, secrets.token_hex(4), valid_s=VALID_S)

    async def write_on() -> None:
        async with asyncio.timeout(20), turns.writing("g"):
            await turns._redis.flushdb()
            await asyncio.sleep(3600)

    try:
        with pytest.raises(BackendUnavailable, match="lost before the write had ended"):
            await write_on()
        async with asyncio.timeout(2), turns.writing("g"):
            pass
    finally:
        await turns.close()


async def test_without_redis_nobody_gets_a_turn() -> None:
    turns = turns_at("redis://127.0.0.1:1/0", "d")
    try:
        with pytest.raises(BackendUnavailable, match="Redis"):
            async with turns.writing("g"):
                raise AssertionError("nobody gave this turn")
        with pytest.raises(BackendUnavailable, match="Redis"):
            await turns.claim("face/new")
    finally:
        await turns.close()


async def test_a_place_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="LIKENESS_LOCKS"):
        turns_at(str(tmp_path / "file"), "d")
    for place in ("redis://host:port", "valkey://host:6379/0", "REDIS://host:6379/0"):
        with pytest.raises(OperatorError, match="redis://host"):
            turns_at(place, "d")
