"""``likeness doctor``: looks through the store of a stopped service, and mends what can be mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.commands.served_models import served_models
from app.config import Settings
from app.embedded.milvus import EmbeddedMilvus, database, pending_rows
from app.errors import LikenessError, OperatorError
from app.store.doctor import Doctor
from app.store.engine import Engine
from app.store.findings import Finding

_Say = Callable[[object], None]


@dataclass(slots=True)
class _Tally:
    """How many findings there were."""

    wrong: int = 0
    mended: int = 0


def doctor(settings: Settings, say: _Say, *, repair: bool) -> int:
    """Examines the store, prints a line for each finding and a summary.

    Args:
        settings: where the store is.
        say: prints.
        repair: whether to mend what is found; else nothing is changed.

    Returns:
        the exit status: 0 where nothing is wrong, or nothing any longer.

    Raises:
        OperatorError: there is no store, it is in use, or Milvus does not answer.
    """
    return asyncio.run(_run(settings, say, repair=repair))


async def _run(settings: Settings, say: _Say, *, repair: bool) -> int:
    served = await served_models(settings)
    try:
        async with _engine(settings, repair=repair) as engine:
            physician = Doctor(engine, settings.milvus_prefix, served)
            tally = await _examine(physician, say, repair=repair)
            seen = f"{physician.examined.groups:,} groups with {physician.examined.rows:,} rows"
            if not tally.wrong:
                say(f"Looked through {seen}: nothing is wrong.")
                return 0
            found = "1 finding" if tally.wrong == 1 else f"{tally.wrong:,} findings"
            if not repair:
                say(f"Looked through {seen}: {found}. Nothing was changed: `likeness doctor --repair` mends it.")
                return 1
            left = [each async for each in physician.findings() if not each.informs_only]
            say(f"Looked through {seen}: {found}, {tally.mended:,} mended. A second look: {_left(left)}.")
            return 1 if left else 0
    except LikenessError as error:
        where = "the embedded Milvus" if settings.embedded_milvus else settings.milvus_uri
        raise OperatorError(f"The store at {where} could not be examined to the end. {error.message}") from error


async def _examine(physician: Doctor, say: _Say, *, repair: bool) -> _Tally:
    tally = _Tally()
    async for finding in physician.findings():
        tally.wrong += not finding.informs_only
        if finding.remedy is None:
            then = finding.advice
        elif repair:
            await finding.remedy.act()
            tally.mended += 1
            then = f"The doctor {finding.remedy.has}."
        else:
            then = f"A repair {finding.remedy.would}."
        mark = "Good to know: " if finding.informs_only else ""
        say(f"{mark}{finding.place}: {finding.wrong}. {then}")
    return tally


def _left(left: list[Finding]) -> str:
    return f"{len(left):,} of them are left" if left else "nothing is wrong any longer"


@asynccontextmanager
async def _engine(settings: Settings, *, repair: bool) -> AsyncIterator[Engine]:
    if not settings.embedded_milvus:
        async with _connected(settings, settings.milvus_uri, None) as engine:
            yield engine
        return
    if not database(settings.data_dir).exists():
        message = (
            f"There is no database in the data folder {settings.data_dir}: name the right one with LIKENESS_DATA_DIR, "
            "or a Milvus server with LIKENESS_MILVUS_URI."
        )
        raise OperatorError(message)
    async with (
        EmbeddedMilvus(data_dir=settings.data_dir, log_dir=settings.data_dir / "logs") as milvus,
        # An update that was cut off is finished by what reads its group next: only a repair may do that.
        _connected(settings, milvus.uri, pending_rows(settings.data_dir) if repair else None) as engine,
    ):
        yield engine


@asynccontextmanager
async def _connected(settings: Settings, uri: str, pending: Path | None) -> AsyncIterator[Engine]:
    engine = await Engine.connect(
        uri=uri,
        token=settings.milvus_token,
        database=settings.milvus_database,
        timeout_s=settings.milvus_timeout,
        pending=pending,
    )
    try:
        yield engine
    finally:
        await engine.close()
