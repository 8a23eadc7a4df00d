"""What README and docs tell a reader to type, to set or to look for exists; figures of plans are those of the command."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.api.table import all_operations
from app.cli import _parser, main
from app.config import documentation
from app.errors import LikenessError

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
OF_COMPOSE = re.compile(r"^docker compose (?:-f \S+ )*(\w+)(.*)$")
KNOWN = {"build", "cp", "create", "down", "exec", "logs", "ps", "restart", "run", "start", "stop", "up"}


def spans(text: str) -> list[str]:
    return [" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text))]


def typed(text: str) -> Iterator[str]:
    """Lines of shell blocks, and spans that are commands."""
    for kind, block in BLOCK.findall(text):
        if kind == "sh":
            yield from (line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip())
    yield from (span for span in spans(text) if re.match(r"(likeness|docker|kubectl|make|python -m) ", span))


def arguments(command: str) -> list[str] | None:
    """Those of a `likeness` command line, as its parser gets them; None for other programs."""
    found = re.match(
        r"(?:docker compose (?:exec (?:likeness) |run --rm (?:likeness|models) (?=\w))|kubectl \S+ \S+ exec \S+ -- )?"
        r"(?:\.venv/bin/)?(likeness )?(.*)$",
        command,
    )
    assert found is not None
    runs = command.startswith("docker compose run --rm")
    return shlex.split(found[2], comments=True) if found[1] or runs else None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_ours_is_understood(page: str) -> None:
    for command in typed(PAGES[page]):
        words = arguments(command)
        if words is None or "…" in command:
            continue
        if command.split() == ["likeness", words[0]]:
            words.append("--help")  # it is spoken of, not typed
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = status_of(words)
        assert status == 0, f"{page}: {command}\n{said.getvalue()}"


def status_of(words: list[str]) -> object:
    try:
        _parser().parse_args(words)
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize("page", PAGES)
def test_every_option_setting_call_and_error_exists(page: str) -> None:
    text = PAGES[page]
    settings = {row.variable for row in documentation()}
    named = set(re.findall(r"LIKENESS_(?!TEST_)[A-Z_]*[A-Z]", text))
    assert {name for name in named if name not in settings and name.removesuffix("_FILE") not in settings} == set()
    operations = {(each.method, re.sub(r"<[^>]+>|\{[^}]+\}", "*", each.path)) for each in all_operations()}
    for method, path in re.findall(r"`(GET|POST) (/v1/[^`\s]*)`", text):
        template = re.sub(r"<[^>]+>|\{[^}]+\}", "*", path.replace("{family}", "face"))
        assert (method, template) in operations or "…" in path, f"{page}: {method} {path}"
    tree = {(kind.status, kind.code) for kind in kinds(LikenessError)}
    for status, code in re.findall(r"(?<![\d,])([45]\d\d) `([a-z_]+)`", text):
        assert (int(status), code) in tree, f"{page}: {status} {code}"


def kinds(root: type[LikenessError]) -> Iterator[type[LikenessError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("page", PAGES)
def test_every_service_target_and_file_that_a_command_names_exists(page: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for command in typed(PAGES[page]):
        words = command.split()
        if found := OF_COMPOSE.match(command.partition("#")[0].strip()):
            assert found[1] in KNOWN, command
            named = [
                word.partition(":")[0] for word in found[2].split() if re.fullmatch(r"[a-z]+(-[a-z]+)?(:/.*)?", word)
            ]
            named = named[:1] if found[1] in {"exec", "run"} else named
            assert [name for name in named if name not in COMPOSE] == [], command
        for option, value in itertools.pairwise(words):
            if option in {"-f", "--kustomize", "--values", "--requirement"} and "/" in value:
                assert (ROOT / value).exists(), command
            if option == "--target":
                assert value in stages | {"cpu", "gpu"}, command
        if words[0] == "make":
            assert {word for word in words[1:2] if word.isalpha()} <= targets, command
        if words[:2] == ["python", "-m"]:
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), command
        if words[0].startswith("deploy/"):
            assert (ROOT / words[0]).exists(), command


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[page]):
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), (page, file)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, (page, file, anchor)


def test_every_alert_has_its_section_in_the_runbook() -> None:
    groups = yaml.safe_load((ROOT / "triton/prometheus/alerts.yml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    sections = re.findall(r"^### (.+)$", PAGES["docs/runbook.md"], re.MULTILINE)
    assert sections == alerts


def test_the_plans_of_the_page_are_those_of_the_command() -> None:
    found = re.findall(r"```sh\n(likeness plan [^\n]+)\n```\n\n```text\n(.*?)```", PAGES["docs/scaling.md"], re.DOTALL)
    assert len(found) >= 3
    for command, answer in found:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(shlex.split(command)[1:]) == 0
        assert out.getvalue() == answer, command


def test_the_loops_of_the_runbook_are_shell() -> None:
    for page, text in PAGES.items():
        for kind, block in BLOCK.findall(text):
            if kind == "sh":
                done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, timeout=10)
                assert done.returncode == 0, (page, done.stderr)
