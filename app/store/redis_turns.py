"""Turns kept by a Redis server, for service processes on several machines.

A holder is known by a token that expires unless it is renewed, so a machine that goes away lets go after a while. One
that is only slow learns that it has lost its turn before another gets it, and gives its write up. Who waits stands in a
queue, first come, first served. (The pattern is Redis' own, with one server: https://redis.io/docs/latest/develop/use/patterns/distributed-locks/.
Milvus takes no fencing token, so a process that is stopped between its last look at the clock and its call, for longer
than the turn is valid, can still write late. A failover of Redis that loses the last moments can lose turns.)
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from app.errors import BackendUnavailable, OperatorError
from app.store.turns import Raised, Release

_VALID_S = 12.0
_SILENCE_S = 2.0  # who waits asks again far sooner
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.02
_CALL_TIMEOUT_S = 2.0
# Calls beyond these wait for one: the client's own pool refuses them. Those that keep and end turns have some of their
# own, so that a crowd of waiters cannot make a turn be lost.
_CONNECTIONS = 16
_KEEPING_CONNECTIONS = 8
# What a writer asked of Milvus without hearing the end of it may still be at work there.
_GRACE_S = 1.0
_DOWN = "Redis, which keeps the processes of this service apart, does not answer: try again later."
_LOST = "The turn at the group was lost before the write had ended: try again, and look whether it happened."

_log = logging.getLogger("likeness.store")

# KEYS: the queue, when its members were last heard of, readers, writer, generation.
# ARGV: r or w, token, milliseconds of validity, milliseconds after which a silent member of the queue is gone.
# Returns 0, or 1 and the generation.
_ACQUIRE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local me = ARGV[1] .. ARGV[2]
if not redis.call('ZSCORE', KEYS[1], me) then
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
  redis.call('ZADD', KEYS[1], (last[2] or 0) + 1, me)
end
redis.call('HSET', KEYS[2], me, now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local turn = redis.call('EXISTS', KEYS[4]) == 0
if turn and ARGV[1] == 'w' then turn = redis.call('ZCARD', KEYS[3]) == 0 end
if turn then
  for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if other == me then break end
    local heard = redis.call('HGET', KEYS[2], other)
    if not heard or now - heard > tonumber(ARGV[4]) then
      redis.call('ZREM', KEYS[1], other)
      redis.call('HDEL', KEYS[2], other)
    elseif ARGV[1] == 'w' or string.sub(other, 1, 1) == 'w' then
      turn = false
      break
    end
  end
end
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], 10 * ARGV[3]) end
if not turn then return {0, '0'} end
redis.call('ZREM', KEYS[1], me)
redis.call('HDEL', KEYS[2], me)
local generation = redis.call('GET', KEYS[5]) or '0'
if ARGV[1] == 'r' then
  if generation == '0' then -- never written, or forgotten by Redis: from now on a write, or another loss, can be told
    generation = ARGV[5]
    redis.call('SET', KEYS[5], generation)
  end
  redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[3], 10 * ARGV[3])
else
  redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3])
  redis.call('SET', KEYS[5], ARGV[5])
end
return {1, generation}
"""
# Returns whether the holder still held it.
_RENEW = """
if ARGV[1] == 'r' then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2]) or '0') <= now then return 0 end
  redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[3], 10 * ARGV[3])
  return 1
end
if redis.call('GET', KEYS[4]) ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', KEYS[4], ARGV[3])
return 1
"""
_RELEASE = """
redis.call('ZREM', KEYS[1], ARGV[1] .. ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[1] .. ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
if redis.call('GET', KEYS[4]) == ARGV[2] then
  if ARGV[3] == '0' then redis.call('DEL', KEYS[4]) else redis.call('PEXPIRE', KEYS[4], ARGV[3]) end
end
"""


@dataclass(slots=True)
class _Turn:
    keys: list[str]
    mode: str
    token: str
    renewed: float
    ending: asyncio.Timeout | None = None
    lost: bool = False


@dataclass(slots=True)
class _Scripts:
    acquire: Any
    renew: Any
    release: Any


@dataclass(slots=True)
class _Held:
    turns: dict[str, _Turn] = field(default_factory=dict)
    renewing: asyncio.Task[None] | None = None


class RedisTurns:
    """Turns for the processes that name the same Redis and the same domain.

    Args:
        url: ``redis://`` or ``rediss://``, with a password and a database number where there are any.
        domain: what is shared: the first part of all keys.
        valid_s: seconds after which a holder that is not heard of has let go.
        grace_s: seconds that the next one waits after a writer that did not hear the end of its write.

    Raises:
        OperatorError: the URL cannot be read.
    """

    def __init__(self, url: str, domain: str, *, valid_s: float = _VALID_S, grace_s: float = _GRACE_S) -> None:
        try:
            self._redis = _client(url, _CONNECTIONS)
            self._keeper = _client(url, _KEEPING_CONNECTIONS)
        except ValueError as error:
            message = f"LIKENESS_LOCKS names a Redis that cannot be read ({error}): write redis://host:6379/0."
            raise OperatorError(message) from error
        self._domain = domain
        self._valid_s = valid_s
        self._grace_s = grace_s
        self._scripts = _Scripts(
            self._redis.register_script(_ACQUIRE),
            self._keeper.register_script(_RENEW),
            self._keeper.register_script(_RELEASE),
        )
        self._held = _Held()

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[int]:
        """See ``Turns``."""
        async with self._turn(name, "r") as raised:
            yield raised.before

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[Raised]:
        """See ``Turns``."""
        async with self._turn(name, "w") as raised:
            yield raised

    async def claim(self, name: str) -> Release | None:
        """See ``Turns``."""
        turn = self._new(f"claim {name}", "w")
        # Kept as a writer's turn is: so it is renewed and given back like one.
        call = self._redis.set(turn.keys[3], turn.token, nx=True, px=round(1000 * self._valid_s))
        try:
            if not await _answer(call):
                return None
        except BaseException:
            await asyncio.shield(self._release(turn))  # it may have been taken all the same
            raise
        self._keep(turn)

        async def release() -> None:
            del self._held.turns[turn.token]
            await self._release(turn)

        return release

    async def generation(self, name: str) -> int:
        """See ``Turns``."""
        return int(await _answer(self._redis.get(self._keys(name)[4])) or 0)

    async def drop(self, name: str) -> None:
        """See ``Turns``."""
        with suppress(BackendUnavailable):
            await _answer(self._redis.expire(self._keys(name)[4], 3600))  # those who still wait may look

    async def close(self) -> None:
        """See ``Turns``."""
        if self._held.renewing is not None:
            self._held.renewing.cancel()
            await asyncio.wait([self._held.renewing])
        await self._redis.aclose()
        await self._keeper.aclose()

    @asynccontextmanager
    async def _turn(self, name: str, mode: str) -> AsyncIterator[Raised]:
        turn = self._new(name, mode)
        after = secrets.randbits(52) or 1
        try:
            before, began = await self._wait(turn, after)
        except BaseException:
            await asyncio.shield(self._release(turn))
            raise
        async with self._keeping(turn, began):
            yield Raised(before, after)

    async def _wait(self, turn: _Turn, after: int) -> tuple[int, float]:
        validity, silence = round(1000 * self._valid_s), round(1000 * _SILENCE_S)
        pause_s = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            arguments = [turn.mode, turn.token, validity, silence, after]
            got, before = await _answer(self._scripts.acquire(keys=turn.keys, args=arguments))
            if got:
                return int(before), began
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _keeping(self, turn: _Turn, began: float) -> AsyncIterator[None]:
        turn.renewed = began
        self._keep(turn)
        grace_s = 0.0
        try:
            async with asyncio.timeout(None) as turn.ending:
                yield
        except TimeoutError as error:
            if not turn.lost:
                raise
            raise BackendUnavailable(_LOST if turn.mode == "w" else _DOWN) from error
        except BackendUnavailable:
            grace_s = self._grace_s if turn.mode == "w" else 0.0  # what Milvus was asked may still happen
            raise
        finally:
            del self._held.turns[turn.token]
            await asyncio.shield(self._release(turn, grace_s=grace_s))

    def _keep(self, turn: _Turn) -> None:
        self._held.turns[turn.token] = turn
        if self._held.renewing is None or self._held.renewing.done():
            self._held.renewing = asyncio.create_task(self._renew())

    async def _release(self, turn: _Turn, *, grace_s: float = 0.0) -> None:
        try:
            arguments = [turn.mode, turn.token, round(1000 * grace_s)]
            await _answer(self._scripts.release(keys=turn.keys, args=arguments))
        except BackendUnavailable:
            _log.warning("A turn could not be given back to Redis; it ends by itself within %g s", self._valid_s)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._valid_s / 4)
            old = [turn for turn in self._held.turns.values() if time.monotonic() - turn.renewed > self._valid_s / 5]
            await asyncio.gather(*(self._renew_one(turn) for turn in old))

    async def _renew_one(self, turn: _Turn) -> None:
        began = time.monotonic()
        try:
            arguments = [turn.mode, turn.token, round(1000 * self._valid_s)]
            held = bool(await _answer(self._scripts.renew(keys=turn.keys, args=arguments)))
        except BackendUnavailable:
            held = time.monotonic() - turn.renewed < self._valid_s / 2  # it may answer again in time
            began = turn.renewed
        turn.renewed = began
        if not held and turn.ending is not None and turn.token in self._held.turns:
            turn.lost = True
            turn.ending.reschedule(asyncio.get_running_loop().time())

    def _new(self, name: str, mode: str) -> _Turn:
        return _Turn(self._keys(name), mode, secrets.token_hex(8), time.monotonic())

    def _keys(self, name: str) -> list[str]:
        # In braces: what a Redis Cluster keeps on one node.
        place = f"{{likeness:{self._domain}:{name}}}"
        return [f"{place}:{part}" for part in ("queue", "heard", "readers", "writer", "generation")]


def _client(url: str, connections: int) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_CALL_TIMEOUT_S,
        socket_timeout=_CALL_TIMEOUT_S,
        socket_connect_timeout=_CALL_TIMEOUT_S,
        decode_responses=True,
    )
    return Redis.from_pool(pool)


async def _answer(call: Any) -> Any:
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        answer = await cast(Awaitable[Any], call)
    except (RedisError, OSError, TimeoutError) as error:
        raise BackendUnavailable(_DOWN) from error
    # Python 3.11's wait_for, in the client, loses a cancellation that comes together with the end of what it waits for.
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer
