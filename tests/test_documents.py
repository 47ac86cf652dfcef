"""What the documents tell people to type exists: commands, options, settings, scripts, targets."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
import typer

from a2bgan import Detector
from a2bgan.cli.app import app
from a2bgan.training.config import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "benchmarks" / "README.md",
]
HISTORY = REPOSITORY / "CHANGELOG.md"
PROGRAM = typer.main.get_command(app)


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each command of a page, in code blocks and in code within a line."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    blocks = [line.strip() for line in re.findall(r"^(?: {4}|\t)(.+)$", text, re.MULTILINE)]
    for line in [*blocks, *re.findall(r"`([^`\n]+)`", text)]:
        if re.match(r"(\w+=\S* )*(a2bgan|python benchmarks/|make|torchrun|srun) ?", line):
            line = line.replace("...", "")
            yield [w for w in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", w)]
        elif line.startswith(("docker run", "ExecStart=")) and " a2bgan " in line:
            yield ["a2bgan", *shlex.split(line.partition(" a2bgan ")[2])]


def own(words: list[str]) -> list[str] | None:
    """Arguments of `a2bgan`, also where a launcher starts it."""
    for start in ("a2bgan", "a2bgan.cli.app"):
        if start in words:
            return words[words.index(start) + 1 :]
    return None


def check_command(words: list[str]) -> None:
    """Fail where a command, an option or a choice of `a2bgan` is not there."""
    command = PROGRAM
    while words and (commands := getattr(command, "commands", None)):
        if words[0].startswith("-"):
            break
        assert words[0] in commands, f"no command {words[0]}"
        command, words = commands[words[0]], words[1:]
    options = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
    given: dict[str, list[str]] = {}
    words = [part for word in words for part in split_option(word)]
    for place, word in enumerate(words):
        if re.match(r"-{1,2}[a-z]", word):
            following = "".join(words[place + 1 : place + 2])
            assert word in {*options, "--help", "-h"}, f"no option {word}"
            given.setdefault(word, []).append(following)
            choices = getattr(options.get(word), "type_descriptor", None)
            if inspect.isclass(kind := getattr(choices, "annotation", None)) and issubclass(
                kind, Enum
            ):
                known = {choice.value for choice in kind} | {"RULE"}
                assert {*following.split("|")} <= known, f"{word} {following}"
    check_settings(given.get("--set", []), given.get("--preset", ["fast"])[0])


def split_option(word: str) -> list[str]:
    return word.split("=", 1) if re.match(r"--[a-z-]+=", word) else [word]


def check_settings(settings: list[str], preset: str = "fast") -> None:
    """Raise InputError where a preset has no such settings; placeholders cannot be checked."""
    load_config(preset, None, [s for s in settings if not re.search(r"=([A-Z]|$)", s)])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_commands_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        said = " ".join(words)
        try:
            if (arguments := own(words)) is not None:
                if page != HISTORY:
                    check_command(arguments)
            elif words[0] == "make":
                assert {w.strip(",") for w in words[1:]} <= {*targets}, said
            elif words[0] == "python":
                check_script(words[1:])
        except Exception as error:
            pytest.fail(f"{said}: {error}")


def check_script(words: list[str]) -> None:
    """A script of benchmarks/ is there and knows its options."""
    source = (REPOSITORY / words[0]).read_text(encoding="utf-8")
    source += (REPOSITORY / "benchmarks" / "result_page.py").read_text(encoding="utf-8")
    for word in words[1:]:
        if word.startswith("--"):
            name = word.partition("=")[0]
            assert f'"{name}"' in source or f'"--{name.removeprefix("--no-")}"' in source, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_settings_in_prose_exist(page: Path) -> None:
    for setting in re.findall(r"`--set \"?([a-z_.]+=[^`\"\s]+)\"?`", page.read_text("utf-8")):
        if page != HISTORY:
            check_settings([setting])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_python_in_pages_uses_what_there_is(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), {})
            elif isinstance(node, ast.Call):
                check_call(node)


def check_call(node: ast.Call) -> None:
    """Keywords of `Detector(...)` and of its methods are parameters."""
    match node.func:
        case ast.Name(id="Detector"):
            called = inspect.signature(Detector)
        case ast.Attribute(value=ast.Name(id="detector" | "Detector"), attr=name):
            called = inspect.signature(getattr(Detector, name))
        case _:
            return
    assert {keyword.arg for keyword in node.keywords} <= {*called.parameters}, ast.unparse(node)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_pages_that_the_code_names_exist() -> None:
    for source in (REPOSITORY / "src").rglob("*.py"):
        for page in re.findall(r"docs/[a-z/-]+\.md", source.read_text("utf-8")):
            assert (REPOSITORY / page).exists(), f"{source.name}: {page}"


def test_no_page_installs_from_an_index_that_has_no_a2bgan() -> None:
    for page in [*PAGES, *(REPOSITORY / "src").rglob("*.py")]:
        assert not re.search(r"pip install ['\"]?a2bgan", page.read_text("utf-8")), page
