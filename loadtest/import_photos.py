"""Imports photos into a running service, and compares that with adding them one by one and eight at a time.

python -m loadtest.import_photos PHOTOS --images 200 --family face
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from app.commands.image_list import SUFFIXES
from app.commands.import_images import ImportOrder, import_images
from app.commands.service import Service, group_path, open_service
from app.config import Settings

_READ_TIMEOUT_S = 120.0
_GOOD = {200, 202}


def main() -> None:
    """Reads the arguments and runs each way of adding on a group of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--images", type=int, default=200, help="images to add; photos are repeated")
    parser.add_argument("--family", choices=("face", "image"), default="face")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    images = [(f"{number:05d}", files[number % len(files)]) for number in range(arguments.images)]
    rates: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, rate in _round(arguments, images).items():
            rates[name] = max(rate, rates.get(name, 0.0))
    for name, rate in rates.items():
        ratios = ", ".join(f"{rate / rates[other]:.2f} × {other}" for other in ("add ×1", "add ×8"))
        print(f"{name:<16} {rate:6.1f} images/s  ({ratios})")


def _round(arguments: argparse.Namespace, images: list[tuple[str, Path]]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = folder / "photos" / "list.jsonl"
        listing.parent.mkdir()
        lines = []
        for image, path in images:
            copy = listing.parent / f"{image}{path.suffix}"
            copy.write_bytes(path.read_bytes())
            lines.append(msgspec.json.encode({"id": image, "path": copy.name}))
        listing.write_bytes(b"\n".join(lines))
        rates = {
            f"add ×{parallel}": asyncio.run(
                _in_group(arguments, lambda service, path, parallel=parallel: _adds(service, path, images, parallel))
            )  # type: ignore[misc]
            for parallel in (1, 8)
        }
        rates["likeness import"] = _command(arguments, listing, folder / "result.jsonl", len(images))
        rates["POST …/import"] = asyncio.run(_in_group(arguments, lambda service, path: _job(service, path, images)))
        return rates


async def _in_group(arguments: argparse.Namespace, work: Callable[[Service, str], Awaitable[float]]) -> float:
    async with open_service(arguments.url, connections=8, read_timeout_s=_READ_TIMEOUT_S) as service:
        path = group_path(arguments.family, f"load-{secrets.token_hex(4)}")
        await _asked(service, path, {"config": {"capacity": 10_000}})
        try:
            return await work(service, path)
        finally:
            await _asked(service, f"{path}/remove", {})


async def _adds(service: Service, path: str, images: list[tuple[str, Path]], parallel: int) -> float:
    left = iter(images)

    async def worker() -> None:
        for image, file in left:
            reply = await service.call("POST", f"{path}/add", {"image": {"id": image, "uri": _uri(file)}})
            assert reply.status in (200, 400), reply.content  # a photo without a face is work as well

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(parallel)))
    return len(images) / (time.perf_counter() - started)


def _command(arguments: argparse.Namespace, listing: Path, result: Path, count: int) -> float:
    group = f"load-{secrets.token_hex(4)}"
    order = ImportOrder(arguments.url, arguments.family, group, listing, result, parallel=8, capacity=10_000)
    started = time.perf_counter()
    import_images(order, Settings(), lambda _: None)
    seconds = time.perf_counter() - started

    async def remove() -> None:
        async with open_service(arguments.url, connections=1, read_timeout_s=_READ_TIMEOUT_S) as service:
            await _asked(service, f"{group_path(arguments.family, group)}/remove", {})

    asyncio.run(remove())
    return count / seconds


async def _job(service: Service, path: str, images: list[tuple[str, Path]]) -> float:
    body = b"\n".join(msgspec.json.encode({"image": {"id": image, "uri": _uri(file)}}) for image, file in images)
    started = time.perf_counter()
    async with service.answer("POST", f"{path}/import", body) as response:
        assert response.status in _GOOD, await response.read()
        job = msgspec.json.decode(await response.read())["job"]
    while True:
        report = msgspec.json.decode((await service.call("GET", f"/v1/jobs/{job}")).content)
        if report["state"] == "done":
            return len(images) / (time.perf_counter() - started)
        await asyncio.sleep(0.05)


async def _asked(service: Service, path: str, body: Any) -> None:
    reply = await service.call("POST", path, body)
    assert reply.status in _GOOD, reply.content


def _uri(file: Path) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(file.read_bytes()).decode()}"


if __name__ == "__main__":
    main()
