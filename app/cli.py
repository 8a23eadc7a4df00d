"""The command ``likeness``."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from app import __version__
from app.config import Settings, documentation
from app.errors import OperatorError
from app.log import set_up_logging
from app.signals import StopSignals


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment()
        set_up_logging(settings.log_level)
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
        epilog=f"settings (environment variables):\n\n{_settings_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"likeness {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the API, with the embedded Triton and Milvus unless set otherwise")
    serve.set_defaults(command=_serve)

    models = commands.add_parser("models", help="build, list, verify and train the models")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    build = actions.add_parser("build", help="download the weights, convert them, write the model repository")
    build.add_argument("--force", action="store_true", help="build again what is there already")
    build.set_defaults(command=_build_models)
    actions.add_parser("list", help="show the models, where they come from and their licences").set_defaults(
        command=_list_models
    )
    actions.add_parser("verify", help="check the models' checksums and tensors").set_defaults(command=_verify_models)

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

    doctor = commands.add_parser("doctor", help="find what is wrong in the store of a stopped service, and repair it")
    doctor.add_argument("--repair", action="store_true", help="mend what is found; without it nothing is changed")
    doctor.set_defaults(command=_doctor)

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
    parser.set_defaults(command=_calibrate)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"{text} is no rate: it must lie between 0 and 1, as 0.001 does")
    return rate


# Each command imports what it needs: `likeness --help` shall not wait for Triton's client.


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    # Before the libraries are imported, some of which start threads: all must inherit the block.
    signals = StopSignals()
    signals.listen()
    from app.server import serve  # noqa: PLC0415

    serve(settings, signals)
    return 0


def _build_models(options: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.build import build  # noqa: PLC0415

    build(settings.model_repository, settings.cache_dir, say=_say, force=options.force)
    return 0


def _list_models(_: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.verify import listing  # noqa: PLC0415

    for row in listing(settings.model_repository):
        _say(f"{row.role:<15} {row.model_id:<22} {row.state:<9} {row.size / 1e6:6.1f} MB  {row.licence}  {row.source}")
    return 0


def _verify_models(_: argparse.Namespace, settings: Settings) -> int:
    from app.catalogue.verify import verify  # noqa: PLC0415

    findings = verify(settings.model_repository)
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
