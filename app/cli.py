"""The command ``likeness``."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from app import __version__
from app.commands.key_options import add_key_commands
from app.commands.plan import add_plan_options, print_plan
from app.commands.privacy_options import add_privacy_commands
from app.config import Settings, documentation
from app.errors import OperatorError
from app.log import set_up_logging
from app.metrics_files import metrics_files
from app.open_files import raise_limit
from app.scheduling import wait_for_turns
from app.signals import StopSignals


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment()
        if getattr(options, "key_file", None) is not None:
            settings = replace(settings, api_key="", api_key_file=options.key_file)
        set_up_logging(settings.log_level, settings.log_format)
        command: Callable[[argparse.Namespace, Settings], int] = options.command
        return command(options, settings)
    except OperatorError as error:
        print(f"likeness: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="likeness",
        description="Face and image search that people run themselves.",
        epilog=f"settings (environment variables; NAME_FILE reads one from a file):\n\n{_settings_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"likeness {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the API, with the embedded Triton and Milvus unless set otherwise")
    serve.set_defaults(command=_serve)

    worker = commands.add_parser("worker")  # not for people: what `serve` starts where there are several workers
    for descriptor in ("--listener", "--ready", "--parent"):
        worker.add_argument(descriptor, type=int, required=True)
    worker.set_defaults(command=_worker)

    models = commands.add_parser("models", help="build, list, verify and train the models")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    build = actions.add_parser("build", help="download the weights, convert them, write the model repository")
    build.add_argument("--force", action="store_true", help="build again what is there already")
    build.add_argument(
        "--target", choices=("cpu", "gpu"), default="cpu", help="also write configurations for GPUs (default: cpu)"
    )
    build.set_defaults(command=_build_models)
    actions.add_parser("list", help="show the models, where they come from and their licences").set_defaults(
        command=_list_models
    )
    verify = actions.add_parser("verify", help="check the models' checksums, tensors and configurations")
    verify.add_argument(
        "--target", choices=("cpu", "gpu"), default="cpu", help="what they must be configured for (default: cpu)"
    )
    verify.set_defaults(command=_verify_models)

    train = actions.add_parser("train-image", help="train the image descriptor's projection on photos of your own")
    train.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="photos, or folders of them")
    train.add_argument("--output", type=Path, default=Path(), help="folder to write the projection to (default: here)")
    train.add_argument("--seed", type=int, default=7, help="decides the split and all copies (default: 7)")
    train.set_defaults(command=_train_image)

    train = actions.add_parser("train-quality", help="train the face quality model's head on photos of people")
    train.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="photos, or folders of them")
    train.add_argument("--output", type=Path, default=Path(), help="folder to write the head to (default: here)")
    train.add_argument("--seed", type=int, default=7, help="decides the split and all samples (default: 7)")
    train.set_defaults(command=_train_quality)

    _add_calibrate(commands.add_parser("calibrate", help="show which thresholds suit a group of the running service"))

    _add_import(
        commands.add_parser("import", help="add a folder or a list of images to a group of the running service")
    )
    _add_export(commands.add_parser("export", help="write a group of the running service to a file"))
    _add_restore(commands.add_parser("restore", help="make a group of the running service from such a file"))

    doctor = commands.add_parser("doctor", help="find what is wrong in the store of a stopped service, and repair it")
    doctor.add_argument("--repair", action="store_true", help="mend what is found; without it nothing is changed")
    doctor.set_defaults(command=_doctor)

    plan = commands.add_parser("plan", help="count what a number of faces and of searches takes")
    add_plan_options(plan)
    plan.set_defaults(command=_plan)
    add_key_commands(commands, _say)
    add_privacy_commands(commands, _say)

    openapi = commands.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(command=_openapi)
    settings = commands.add_parser("settings", help="print every setting as a Markdown table")
    settings.set_defaults(command=_settings)
    return parser


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="name of the group")
    parser.add_argument("--family", choices=("face", "image"), default="face", help="kind of the group (default: face)")
    parser.add_argument("--identity", choices=("tag", "id"), help="what tells whose image it is (default: tag)")
    parser.add_argument("--pattern", help="how ids are made, e.g. '{identity}-*'; says --identity id as well")
    parser.add_argument(
        "--fmr", type=_rate, action="append", default=[], metavar="RATE", help="a wanted false match rate; repeatable"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="file to write a plot to, as SVG")
    parser.add_argument("--url", help="where the service is (default: as the settings say)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the key to send")
    parser.set_defaults(command=_calibrate)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"{text} is no rate: it must lie between 0 and 1, as 0.001 does")
    return rate


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="name of the group")
    parser.add_argument("source", type=Path, metavar="FILE|FOLDER", help="a folder of images, a .csv or a .jsonl")
    parser.add_argument("--family", choices=("face", "image"), default="face", help="kind of the group (default: face)")
    parser.add_argument("--url", help="where the service is (default: as the settings say)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the key to send")
    parser.add_argument("--parallel", type=int, default=8, metavar="N", help="images on their way at once (default: 8)")
    parser.add_argument("--tag", default="", help="tag of all images (default: the list's, or the first folder)")
    parser.add_argument(
        "--result", type=Path, metavar="FILE", help="what became of each image (default: import-…jsonl)"
    )
    parser.add_argument("--reject-bad-face", action="store_true", help="refuse faces that are not clear and upright")
    parser.add_argument("--create", action="store_true", help="make the group where it is not there; needs --capacity")
    parser.add_argument("--capacity", type=int, metavar="N", help="images that a new group is expected to hold")
    parser.set_defaults(command=_import)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="name of the group")
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write; .gz at its end compresses it")
    parser.add_argument("--family", choices=("face", "image"), default="face", help="kind of the group (default: face)")
    parser.add_argument("--force", action="store_true", help="replace a file that is there already")
    parser.add_argument("--url", help="where the service is (default: as the settings say)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the key to send")
    parser.set_defaults(command=_export)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="file of an exported group")
    parser.add_argument("--group", default="", metavar="NEW", help="name of the group (default: as in the file)")
    parser.add_argument("--family", choices=("face", "image"), default="", help="kind that the file must have")
    parser.add_argument("--url", help="where the service is (default: as the settings say)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the key to send")
    parser.set_defaults(command=_restore)


# Each command imports what it needs: `likeness --help` shall not wait for Triton's client.


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    # Before the libraries are imported, some of which start threads: all must inherit the block.
    signals = StopSignals()
    signals.listen()
    raise_limit()
    wait_for_turns()
    # And before prometheus_client is, which decides then where its numbers lie.
    with metrics_files(settings.data_dir / "run", workers=settings.workers):
        if settings.workers > 1:
            from app.workers import serve_with_workers  # noqa: PLC0415

            serve_with_workers(settings, signals)
            return 0
        from app.server import serve  # noqa: PLC0415

        serve(settings, signals)
    return 0


def _worker(options: argparse.Namespace, settings: Settings) -> int:
    signals = StopSignals()
    signals.listen()
    from app.workers import serve_as_worker  # noqa: PLC0415

    serve_as_worker(settings, signals, listener=options.listener, ready=options.ready, parent=options.parent)
    return 0


def _build_models(options: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.build import build  # noqa: PLC0415
    from app.catalogue.layout import Target  # noqa: PLC0415

    target = Target(options.target)
    build(settings.model_repository, settings.cache_dir, say=_say, force=options.force, target=target)
    return 0


def _list_models(_: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.verify import listing  # noqa: PLC0415

    for row in listing(settings.model_repository):
        _say(f"{row.role:<15} {row.model_id:<22} {row.state:<9} {row.size / 1e6:6.1f} MB  {row.licence}  {row.source}")
    return 0


def _verify_models(options: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.layout import Target  # noqa: PLC0415
    from app.catalogue.verify import verify  # noqa: PLC0415

    findings = verify(settings.model_repository, target=Target(options.target))
    for finding in findings:
        _say(finding.sentence)
    if not findings:
        _say("All models are as they should be.")
    return 1 if findings else 0


def _train_image(options: argparse.Namespace, settings: Settings) -> int:
    from app.training.image_descriptor import train_image  # noqa: PLC0415

    train_image(options.photos, options.output, settings.cache_dir, seed=options.seed, say=_say)
    return 0


def _train_quality(options: argparse.Namespace, settings: Settings) -> int:
    from app.training.face_quality import train_quality  # noqa: PLC0415

    train_quality(options.photos, options.output, settings.cache_dir, seed=options.seed, say=_say)
    return 0


def _calibrate(options: argparse.Namespace, settings: Settings) -> int:
    from app.commands.calibrate import Question, calibrate, service_url  # noqa: PLC0415

    if options.pattern and options.identity == "tag":
        raise OperatorError("--pattern says how ids tell identities: leave out --identity tag, or the pattern.")
    body = {"fmr": options.fmr, "identity": options.identity or ("id" if options.pattern else "tag")}
    if options.pattern:
        body["pattern"] = options.pattern
    question = Question(options.url or service_url(settings), options.family, options.group, body, options.plot)
    calibrate(question, settings, _say)
    return 0


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    from app.commands.doctor import doctor  # noqa: PLC0415

    return doctor(settings, _say, repair=options.repair)


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from app.commands.calibrate import service_url  # noqa: PLC0415
    from app.commands.import_images import ImportOrder, default_result, import_images  # noqa: PLC0415

    if options.create != (options.capacity is not None):
        raise OperatorError("--create and --capacity go together: say for how many images the group is made.")
    if options.parallel not in range(1, 65):
        raise OperatorError("--parallel must be from 1 to 64.")
    if options.reject_bad_face and options.family != "face":
        raise OperatorError("--reject-bad-face is for faces: leave it out for a group of images.")
    order = ImportOrder(
        url=options.url or service_url(settings),
        family=options.family,
        group=options.group,
        source=options.source,
        result=options.result or default_result(options.family, options.group, options.source),
        parallel=options.parallel,
        tag=options.tag,
        reject_bad_face=options.reject_bad_face,
        capacity=options.capacity,
    )
    return import_images(order, settings, _say)


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from app.commands.calibrate import service_url  # noqa: PLC0415
    from app.commands.service import key_headers  # noqa: PLC0415
    from app.commands.transfer import TransferOrder, export  # noqa: PLC0415

    url = options.url or service_url(settings)
    export(TransferOrder(url, options.file, options.group, options.family, options.force, key_headers(settings)), _say)
    return 0


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    from app.commands.calibrate import service_url  # noqa: PLC0415
    from app.commands.service import key_headers  # noqa: PLC0415
    from app.commands.transfer import TransferOrder, restore  # noqa: PLC0415

    url, headers = options.url or service_url(settings), key_headers(settings)
    restore(TransferOrder(url, options.file, options.group, options.family, headers=headers), _say)
    return 0


def _plan(options: argparse.Namespace, _: Settings) -> int:
    print_plan(options, _say)
    return 0


def _openapi(_: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from app.api.openapi import openapi_document  # noqa: PLC0415
    from app.api.table import all_operations  # noqa: PLC0415

    _say(json.dumps(openapi_document(all_operations()), indent=2))
    return 0


def _settings(_: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    _say("| setting | default | what it does |\n| --- | --- | --- |")
    for row in documentation():
        _say(f"| `{row.variable}` | {row.default} | {row.doc} |")
    return 0


def _settings_text() -> str:
    blocks = []
    for row in documentation():
        doc = textwrap.fill(
            f"{row.doc} Default: {row.default}.", 96, initial_indent="      ", subsequent_indent="      "
        )
        blocks.append(f"  {row.variable}\n{doc}")
    return "\n".join(blocks)


def _say(text: object) -> None:
    print(text, flush=True)  # noqa: T201
