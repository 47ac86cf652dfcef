"""What benchmarks of all tasks share: a training, a table on the screen, failures in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.markup import escape

from a2bgan.cli.child_commands import Children
from a2bgan.cli.console import errors, output
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest
    from a2bgan.training.methods.method import Facts
    from a2bgan.training.run_folder import RunFolder

T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """One training of a preset."""

    run: "RunFolder"
    opening: list[str]
    manifest: "Manifest"
    preset: str
    settings: list[str]

    def refuse_other_run(self) -> None:
        """Raise InputError where a run with other settings or of other images is."""
        from a2bgan.data.image_size import settled_for
        from a2bgan.training.config import load_config

        config = load_config(self.preset, None, self.settings)
        if not self.run.config_file.exists():
            return
        config = config.model_copy(update={"data": settled_for(config.data, self.manifest)})
        if self.run.config() != config or self.run.manifest_sha256() != self.manifest.sha256:
            raise InputError(
                f"{self.run.path}: a run with other settings or images; choose another --out"
            )

    def train(self, children: Children) -> str:
        """Train, or go on; the reason if that fails."""
        options: list[object] = ["--out", self.run.path, *self.opening]
        if self.run.config_file.exists():
            options.append("--resume")
        else:
            options += ["--preset", self.preset]
            options += [part for setting in self.settings for part in ("--set", setting)]
        return children.run("train", *options)


def tell_apart(found: "Sequence[T | str]", out: Path, data: str) -> tuple[list[T], str]:
    """What a method's trainings gave, and why the first of those that failed did, without paths."""
    failures = [f for f in found if isinstance(f, str)]
    repeats = [f for f in found if not isinstance(f, str)]
    return repeats, without_paths(failures[0], out, data) if failures else ""


def say_result(name: str, facts: "Facts", said: str) -> None:
    """What came of a method, as soon as that is known."""
    errors.print(f"{facts.title} ({name}): {said}", soft_wrap=True, markup=False, highlight=False)


def print_columns(
    head: Sequence[str], cells: Sequence[Sequence[str]], wanted: Sequence[str]
) -> None:
    """The wanted columns of a table, as far as they are there."""
    from rich.table import Table

    on_screen = [column for column in wanted if column in head]
    table = Table(*on_screen, box=None)
    for line in cells:
        of = dict(zip(head, line, strict=True))
        table.add_row(*(escape(of[column]) for column in on_screen))
    output.print(table)


def without_paths(text: str, out: Path, data: str) -> str:
    """Tables are shared; where things lie on this machine is nobody's business."""
    for place in (out, Path(data).parent):
        for form in (str(place.resolve()), str(place)):
            if form not in (".", "/"):
                text = text.replace(f"{form}/", "")
    return text
