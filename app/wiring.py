"""Opens every part of the service in order, and closes them in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app import __version__
from app.access.audit import open_audit_log
from app.access.background_audit import BackgroundAudit
from app.access.receipts import Receipts
from app.catalogue.roles import Role
from app.catalogue.verify import verify
from app.config import Settings
from app.decoding import Decoders, DecodingLimits
from app.embedded.milvus import EmbeddedMilvus, pending_rows
from app.embedded.triton import EmbeddedTriton
from app.errors import BackendUnavailable, OperatorError
from app.fetch import AllowList, Fetcher, FetchLimits
from app.inference.cores import SharedCores
from app.inference.models import (
    DetectorSpec,
    EmbedderSpec,
    QualitySpec,
    ServedModel,
    detector_spec,
    embedder_spec,
    quality_spec,
)
from app.inference.servers import TritonServers
from app.metrics import Metrics
from app.metrics_page import MetricsPage
from app.services.admission import Admission
from app.services.budget import MemoryBudget
from app.services.calibrate import Calibrate
from app.services.cluster import Cluster
from app.services.compare import Compare
from app.services.face_check import FaceCheck
from app.services.face_pipeline import FaceModels, FacePipeline
from app.services.face_search import FaceRules, FaceSearch
from app.services.groups import Groups
from app.services.health import Health
from app.services.image_pipeline import ImagePipeline
from app.services.image_search import ImageSearch
from app.services.image_source import ImageLimits, ImageSource
from app.services.jobs import JobLimits, JobReport, Jobs
from app.services.multi_search import MultiSearch
from app.services.query_faces import QueryFaces
from app.services.threads import PixelThreads
from app.services.transfer import GroupTransfer
from app.store.groups import GroupStore
from app.store.records import Family


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API calls."""

    image_groups: Groups
    face_groups: Groups
    images: ImageSearch
    faces: FaceSearch
    multi_faces: MultiSearch
    cluster: Cluster
    compare: Compare
    face_check: FaceCheck
    calibrate: Calibrate
    transfer: GroupTransfer
    jobs: Jobs
    receipts: Receipts
    admission: Admission
    health: Health
    metrics: MetricsPage


@dataclass(slots=True)
class _Engines:
    """Where Triton and Milvus are, whether ours or the operator's."""

    triton_url: str
    milvus_uri: str


@asynccontextmanager
async def open_services(
    settings: Settings, metrics: Metrics, page: MetricsPage, *, is_worker: bool = False
) -> AsyncIterator[Services]:
    """Starts what is embedded, connects to the rest, and yields the services.

    What was opened is closed in reverse order, also when opening fails half-way.

    Args:
        settings: of the operator.
        metrics: told of all that happens.
        page: on which gauges are shown that are read when it is written.
        is_worker: whether this process is one of several of a service, whose parent holds what is there once.

    Raises:
        OperatorError: a part cannot be started; the sentence says what to do.
    """
    async with AsyncExitStack() as stack:
        # Filled below: the embedded Milvus must be able to tell the store that it was restarted.
        stores: list[GroupStore] = []

        async def milvus_restarted() -> None:
            for opened in stores:
                opened.forget()

        allow = AllowList.parse(settings.fetch_allow)  # may be wrong: known before anything is started
        decoders = await _start_decoders(settings, stack, metrics)
        engines = await _start_engines(settings, stack, milvus_restarted)
        triton = await stack.enter_async_context(
            TritonServers(engines.triton_url, tuple(Role), timeout=settings.triton_timeout)
        )
        audit = BackgroundAudit(settings)
        stack.callback(audit.close)
        store = await stack.enter_async_context(
            GroupStore(
                uri=engines.milvus_uri,
                token=settings.milvus_token,
                database=settings.milvus_database,
                prefix=settings.milvus_prefix,
                embedded=settings.embedded_milvus,
                timeout_s=settings.milvus_timeout,
                pending=pending_rows(settings.data_dir) if settings.embedded_milvus else None,
                locks=None if settings.embedded_milvus else settings.locks,
                metrics=metrics.store,
                sweep_s=settings.sweep_interval,
                swept=audit.swept,
            )
        )
        stores.append(store)
        cores = SharedCores(_cores_of_one(settings) if settings.embedded_triton else 0)
        source = ImageSource(
            _fetcher(settings, allow, metrics),
            decoders,
            PixelThreads(_pixel_threads(settings, stack), crowded=lambda: cores.none_is_left),
            _image_limits(settings),
        )
        queue: dict[str, Any] = {
            "max_waiting": settings.batch_queue,
            "in_flight": settings.batches_in_flight,
            "cores": cores,
            "metrics": metrics.inference,
        }
        detector = ServedModel[DetectorSpec](triton, Role.FACE_DETECTOR, detector_spec, **queue)
        quality = ServedModel[QualitySpec](triton, Role.FACE_QUALITY, quality_spec, **queue)
        face_embedder = ServedModel[EmbedderSpec](triton, Role.FACE_EMBEDDER, embedder_spec, **queue)
        image_embedder = ServedModel[EmbedderSpec](triton, Role.IMAGE_EMBEDDER, embedder_spec, **queue)
        models: tuple[ServedModel[Any], ...] = (detector, quality, face_embedder, image_embedder)
        for model in models:
            stack.push_async_callback(model.close)
        image_pipeline = ImagePipeline(source, image_embedder)
        face_pipeline = FacePipeline(source, FaceModels(detector, quality, face_embedder))
        queries = QueryFaces(store, face_pipeline)
        # One thread: products of comparisons take turns, and BLAS spreads each over the cores.
        multiplier = ThreadPoolExecutor(1, thread_name_prefix="likeness-compare")
        stack.callback(multiplier.shutdown, cancel_futures=True)
        memory = MemoryBudget(settings.compare_memory)
        specs = {Family.IMAGE: image_pipeline.spec, Family.FACE: face_pipeline.spec}
        rules = FaceRules(min_size=settings.face_min_size, several_allowed=settings.multi_faces_mode == 1)
        images = ImageSearch(store, image_pipeline)
        faces = FaceSearch(store, face_pipeline, queries, rules)
        admission = Admission(settings.max_requests, behind=settings.import_parallel)
        limits = JobLimits(settings.imports, settings.import_parallel, settings.request_timeout)
        jobs = await stack.enter_async_context(
            Jobs(
                imports_folder(settings),
                store,
                images=images,
                faces=faces,
                admission=admission,
                limits=limits,
                shared=is_worker,
                metrics=metrics.work,
                stages=metrics.stages,
                ended=partial(_record_import, audit),
            )
        )
        for sample in (store.sample, jobs.sample, *(model.sample for model in models)):
            page.before_each(sample)
        for told in (source.sample, admission.sample, partial(memory.sample, name="comparisons")):
            page.before_each(partial(told, metrics.work))
        await stack.enter_async_context(page.kept_sampled())
        await _ready(decoders)
        yield Services(
            image_groups=Groups(store, Family.IMAGE, image_pipeline.spec),
            face_groups=Groups(store, Family.FACE, face_pipeline.spec),
            images=images,
            faces=faces,
            multi_faces=MultiSearch(store, queries),
            cluster=Cluster(store, queries),
            compare=Compare(store, face_pipeline.spec, multiplier, memory),
            calibrate=Calibrate(store, specs, multiplier, memory),
            transfer=GroupTransfer(store, specs, most=settings.transfers),
            jobs=jobs,
            receipts=Receipts(open_audit_log(settings)),
            admission=admission,
            face_check=FaceCheck(face_pipeline),
            health=Health(store, models, triton),
            metrics=page,
        )


def _record_import(audit: BackgroundAudit, report: JobReport) -> None:
    facts = report.facts
    audit.import_ended(
        facts.family,
        facts.group,
        job=facts.id,
        key=facts.key,
        state=report.state,
        counts={"done": report.done, "failed": report.failed, "total": facts.total},
        error=report.error,
    )


def imports_folder(settings: Settings) -> Path:
    """Where imports in the background are written down; made where it is missing.

    Raises:
        OperatorError: the data folder cannot be made.
    """
    folder = settings.data_dir / "imports"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"The data folder {settings.data_dir} cannot be made ({(error.strerror or str(error)).lower()}): "
            "choose another with LIKENESS_DATA_DIR."
        )
        raise OperatorError(message) from error
    return folder


async def start_triton(settings: Settings, stack: AsyncExitStack) -> EmbeddedTriton:
    """Starts the embedded Triton, which ends with the stack.

    Raises:
        OperatorError: it cannot be started, or the models are not as they should be.
    """
    log = logging.getLogger("likeness")
    for finding in await asyncio.to_thread(verify, settings.model_repository):
        if finding.fatal:
            raise OperatorError(finding.sentence)
        log.warning("%s", finding.sentence)
    triton = EmbeddedTriton(
        python=settings.triton_python,
        model_repository=settings.model_repository,
        data_dir=settings.data_dir,
        log_dir=_log_dir(settings),
        cores=settings.embedded_cores,
        metrics_port=settings.triton_metrics_port,
    )
    return await stack.enter_async_context(triton)


def _log_dir(settings: Settings) -> Path:
    return settings.data_dir / "logs"


async def _start_engines(
    settings: Settings, stack: AsyncExitStack, milvus_restarted: Callable[[], Awaitable[None]]
) -> _Engines:
    """Starts the embedded engines side by side; stops both when one fails."""
    starting = []
    imports_folder(settings)
    engines = _Engines(settings.triton_url, settings.milvus_uri)
    if settings.embedded_milvus:
        starting.append("Milvus Lite")
    if settings.embedded_triton:
        starting.append("Triton")
    if starting:
        logging.getLogger("likeness").info("Starting %s (logs in %s)", " and ".join(starting), _log_dir(settings))

    async def milvus() -> None:
        engine = EmbeddedMilvus(data_dir=settings.data_dir, log_dir=_log_dir(settings), on_restart=milvus_restarted)
        engines.milvus_uri = (await stack.enter_async_context(engine)).uri

    async def triton() -> None:
        engines.triton_url = (await start_triton(settings, stack)).entry

    try:
        async with asyncio.TaskGroup() as group:
            if settings.embedded_milvus:
                group.create_task(milvus())
            if settings.embedded_triton:
                group.create_task(triton())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return engines


async def _start_decoders(settings: Settings, stack: AsyncExitStack, metrics: Metrics) -> Decoders:
    limits = DecodingLimits(
        processes=settings.decode_processes or _cores_of_one(settings),
        max_pixels=settings.max_image_pixels,
        most_bytes=settings.decode_memory,
        timeout_s=settings.decode_timeout,
    )
    return await stack.enter_async_context(Decoders(limits, metrics=metrics.decoders))


async def _ready(decoders: Decoders) -> None:
    try:
        await decoders.ready()
    except BackendUnavailable as error:
        message = "No process that decodes images can be started: the log says why."
        raise OperatorError(message) from error


def _cores_of_one(settings: Settings) -> int:
    """Cores of this machine that one of the workers has."""
    return max(1, len(os.sched_getaffinity(0)) // settings.workers)


def _fetcher(settings: Settings, allow: AllowList, metrics: Metrics) -> Fetcher:
    limits = FetchLimits(
        max_bytes=settings.max_image_bytes,
        timeout_s=settings.fetch_timeout,
        first_byte_s=settings.fetch_first_byte,
        least_speed=settings.fetch_least_speed,
        max_redirects=settings.fetch_max_redirects,
        connections=settings.fetch_connections,
        host_connections=settings.fetch_host_connections,
        allow=allow,
        allow_networks=settings.fetch_allow_networks,
        user_agent=f"Likeness/{__version__}",
    )
    return Fetcher(limits, metrics=metrics.fetch)


def _pixel_threads(settings: Settings, stack: AsyncExitStack) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(
        settings.pixel_threads or _cores_of_one(settings), thread_name_prefix="likeness-pixels"
    )
    stack.callback(threads.shutdown, cancel_futures=True)
    return threads


def _image_limits(settings: Settings) -> ImageLimits:
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        fetched_memory=settings.fetch_memory,
        decoded_memory=settings.decode_memory,
        at_work=settings.images_at_work,
    )
