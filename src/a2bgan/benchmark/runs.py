"""The trainings of a benchmark: what is trained, each in a process of its own, and on what."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from a2bgan.benchmark.child_commands import Children
from a2bgan.data.image_size import settled_for
from a2bgan.data.manifest import Manifest
from a2bgan.errors import InputError
from a2bgan.models.pretrained import has_pretrained
from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Facts, Task
from a2bgan.training.run_folder import RunFolder

T = TypeVar("T")

Report = Callable[[str], None]
"""Gets a line about each method as soon as its result is known."""


@dataclass(frozen=True)
class Training:
    """One training of a preset.

    data_options: of `train` and `evaluate`, which images they open.
    """

    run: RunFolder
    data_options: list[str]
    manifest: Manifest
    preset: str
    settings: list[str]

    def refuse_other_run(self) -> None:
        """Raise InputError where a run with other settings or images is in the way."""
        config = load_config(self.preset, None, self.settings)
        if not self.run.config_file.exists():
            return
        config = config.model_copy(update={"data": settled_for(config.data, self.manifest)})
        if self.run.config() != config or self.run.manifest_sha256() != self.manifest.sha256:
            raise InputError(
                f"{self.run.path}: a run with other settings or images; choose another --out"
            )

    def train(self, children: Children) -> str:
        """Train, or go on; return the reason if that fails."""
        options: list[object] = ["--out", self.run.path, *self.data_options]
        if self.run.config_file.exists():
            options.append("--resume")
        else:
            options += ["--preset", self.preset]
            options += [part for setting in self.settings for part in ("--set", setting)]
        return children.run("train", *options)


@dataclass(frozen=True)
class Benchmark:
    """Methods to compare on the same images.

    data: as it was given, for `without_paths`; command: shown above the tables.
    trainings: by preset and number of the repeat.
    """

    out: Path
    data: str
    command: str
    facts: Mapping[str, Facts]
    trainings: Mapping[tuple[str, int], Training]

    def of(self, preset: str) -> list[Training]:
        """The trainings of a preset."""
        return [training for (name, _), training in self.trainings.items() if name == preset]

    def successes(self, found: Sequence[T | str]) -> tuple[list[T], str]:
        """Separate the results of a method's trainings from the reason of the first failure, which
        comes without paths."""
        failures = [f for f in found if isinstance(f, str)]
        repeats = [f for f in found if not isinstance(f, str)]
        return repeats, without_paths(failures[0], self.out, self.data) if failures else ""


@dataclass(frozen=True)
class Compared:
    """The table of a benchmark, the files that hold it, and whether any training failed.

    trouble: what could not be drawn, "" where all was.
    """

    head: Sequence[str]
    cells: Sequence[Sequence[str]]
    files: list[Path]
    failed: bool
    trouble: str = ""


def time_needed(trainings: Sequence[Training], jobs: int) -> str:
    """A sentence on how long trainings take, before the first one begins.

    jobs: trainings at a time.
    """
    lengths = [load_config(t.preset, None, t.settings).train.minutes for t in trainings]
    timed = [minutes for minutes in lengths if minutes is not None]
    said = f"{len(trainings)} trainings, {jobs} at a time"
    if timed:
        said += f": {sum(timed) / jobs:.0f} minutes of training in all, and selection and scoring"
    if len(timed) < len(lengths):
        others = len(lengths) - len(timed)
        said += f"; {others} of them by steps, which take as long as they take"
    return said


def plan_trainings(
    presets: Sequence[str],
    seeds: int,
    folder: Path,
    manifest: Manifest,
    data_options: list[str],
    settings: list[str],
    task: Task,
    *,
    minutes: float | None,
    backbone_weights: Path | None,
) -> dict[tuple[str, int], Training]:
    """The trainings by preset and repeat, to run below a folder.

    backbone_weights: for presets whose backbone has no weights on this machine.

    Raises InputError where another run is in the way.
    """
    trainings = {}
    for preset in presets:
        # Translators have their own ways to select, or none, so the last checkpoint of each counts.
        own = [*(["selection.by=last"] if task == "translation" else []), *settings]
        if minutes is not None:
            own.append(f"train.minutes={minutes:g}")
        backbone = getattr(load_config(preset, None, settings).method, "backbone", None)
        if backbone_weights is not None and backbone and not has_pretrained(backbone):
            own.append(f"method.backbone_weights={backbone_weights.resolve()}")
        for seed in range(seeds):
            run = RunFolder(folder / Path(preset).stem / f"{seed}")
            training = Training(run, data_options, manifest, preset, [*own, f"train.seed={seed}"])
            training.refuse_other_run()
            trainings[preset, seed] = training
    return trainings


def threads_of_each(jobs: int) -> str:
    """OMP_NUM_THREADS for trainings side by side: the user's own, else a share of the cores; "" to
    leave it alone."""
    own = os.environ.get("OMP_NUM_THREADS", "")
    return own if own or jobs == 1 else str(max(1, (os.cpu_count() or 1) // jobs))


def shown_command(
    task: Task,
    data: str,
    methods: str,
    *,
    seeds: int,
    minutes: float | None,
    settings: Sequence[str],
    jobs: int,
    where: str | None,
    files: Mapping[str, Path | None],
    flags: Sequence[str],
    threads: str,
) -> str:
    """The command as it was given, but without the folders of data and results.

    threads: of each training, "" for the default; a training by the clock depends on them.
    """
    parts = [f"OMP_NUM_THREADS={threads}"] if threads else []
    parts.append("a2bgan benchmark")
    if task != "detection":
        parts.append(f"--task {task}")
    shown = data if data == "phantom" else Path(data).resolve().name
    named = ",".join(Path(method).name for method in methods.split(","))
    parts.append(f"--data {shown} --methods {named} --seeds {seeds} --out DIR")
    if minutes is not None:
        parts.append(f"--minutes {minutes:g}")
    for setting in settings:
        key, _, value = setting.partition("=")
        parts.append(f"--set {key}={Path(value).name if '/' in value else value}")
    if jobs > 1:
        parts.append(f"--jobs {jobs}")
    if where:
        parts.append(f"--where '{where}'")
    parts += [f"--{option} FILE" for option, file in files.items() if file is not None]
    return " ".join([*parts, *flags])


def without_paths(text: str, out: Path, data: str) -> str:
    """Remove this machine's folders from a text: tables are shared."""
    for place in (out, Path(data).parent):
        for form in (str(place.resolve()), str(place)):
            if form not in (".", "/"):
                text = text.replace(f"{form}/", "")
    return text
