"""``likeness purge``: takes what was deleted out of the files of Milvus, and looks whether it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.access.background_audit import BackgroundAudit
from app.config import Settings
from app.embedded.vacuum import vacuum
from app.errors import LikenessError, OperatorError
from app.store.compaction import Compaction
from app.store.groups import GroupStore
from app.store.measured import MeasuredClient
from app.store.records import Family

_Say = Callable[[object], None]
_LATER = (
    "Files that serve no group any more are deleted by the server itself, after three hours unless its "
    "dataCoord.gc.dropTolerance says otherwise; its message log keeps what was written for as long as it is set to "
    "(docs/privacy.md)."
)


def purge(settings: Settings, say: _Say, *, family: str, groups: Sequence[str]) -> int:
    """Purges the database of a stopped service, or groups on a server.

    Args:
        settings: where the store is.
        say: prints.
        family: of the groups that are named.
        groups: their names; empty for all groups of both families. An embedded database is purged as a whole.

    Returns:
        the exit status: 0 where nothing that was deleted is in the files that are used.

    Raises:
        OperatorError: there is no store, it is in use, or Milvus does not answer.
    """
    audit = BackgroundAudit(settings)
    try:
        if settings.embedded_milvus:
            return _embedded(settings, say, audit)
        return asyncio.run(_server(settings, say, audit, family=family, groups=groups))
    except LikenessError as error:
        raise OperatorError(error.message) from error
    finally:
        audit.close()


def _embedded(settings: Settings, say: _Say, audit: BackgroundAudit) -> int:
    done = vacuum(settings.data_dir)
    counts = {"bytes_before": done.before, "bytes_after": done.after}
    audit.purged("", "", engine="Milvus Lite", outcome="done", counts=counts)
    say(
        f"The database of all groups is written anew: {done.before:,} bytes before, {done.free:,} of them free pages, "
        f"{done.after:,} bytes now. Nothing that was deleted is in the file; blocks of the disk that it used to have "
        "may keep it until they are written over."
    )
    return 0


async def _server(settings: Settings, say: _Say, audit: BackgroundAudit, *, family: str, groups: Sequence[str]) -> int:
    client = MeasuredClient.of(
        uri=settings.milvus_uri,
        token=settings.milvus_token,
        database=settings.milvus_database,
        timeout_s=settings.milvus_timeout,
        metrics=None,
    )
    compaction = Compaction(client, settings.milvus_timeout)
    left = 0
    try:
        async with _store(settings, audit) as store:
            await store.sweep()  # what is over is to go as well
            purge_of = store.purge(compaction)
            wanted = [(Family(family), name) for name in groups] or [
                (of, name) for of in Family for name in await store.names(of)
            ]
            for of, name in wanted:
                found = await purge_of.group(of, name)
                counts = {"rows": found.rows, "stored_before": found.before, "stored_after": found.after}
                audit.purged(of, name, engine="Milvus", outcome="done" if found.is_done else "left", counts=counts)
                left += not found.is_done
                gone, kept = found.before - found.after, found.after - found.rows
                say(
                    f"{of}/{name}: {found.rows:,} rows; {max(gone, 0):,} deleted ones were taken out of the files that "
                    "serve it, "
                    + ("none is left in them." if found.is_done else f"{kept:,} are left: run the command again later.")
                )
    finally:
        await compaction.close()
    say(_LATER)
    return 1 if left else 0


def _store(settings: Settings, audit: BackgroundAudit) -> GroupStore:
    return GroupStore(
        uri=settings.milvus_uri,
        token=settings.milvus_token,
        database=settings.milvus_database,
        prefix=settings.milvus_prefix,
        embedded=False,
        timeout_s=settings.milvus_timeout,
        locks=settings.locks,
        sweep_s=settings.sweep_interval,
        swept=audit.swept,
    )
