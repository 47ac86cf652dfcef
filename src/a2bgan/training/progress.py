"""Progress of a training, for people: a bar in a terminal or a notebook, lines elsewhere."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from a2bgan.training.config import Config, TrainConfig
from a2bgan.training.loop import Report
from a2bgan.training.methods import METHODS
from a2bgan.training.methods.method import StepMethod

A2BGAN_NUMBERS = {
    "critic loss": "d_adversarial",
    "translator loss": "g_adversarial",
    "identity loss": "g_identity",
    "mask open": "mask_mean",
}
"""A2B-GAN's numbers beside the bar, by their names there."""

WHAT_IS_GOOD = "a good sign: the losses level off; a warning follows where training goes wrong"
"""A line on A2B-GAN's numbers."""


FIRST_STEPS = 5
"""Steps after which their speed says something of the rest."""


def in_a_notebook_or_terminal() -> bool:
    """True where somebody can watch a bar on standard error."""
    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


@contextmanager
def show_progress(
    config: Config,
    console: Console | None = None,
    *,
    bar: bool = True,
    worded: Callable[[str], str] = str,
) -> Iterator[Callable[[Report], None]]:
    """Yield a function that shows each report: how much is over, time, speed, losses.

    After the first steps it says how far the training will come. Warnings are shown once each.

    bar: False prints a line for every tenth of the training instead.
    worded: puts what is said in the words of who reads it, such as options of the command.
    """
    if console is None:
        # A notebook shows what goes to standard output as a widget.
        console = Console() if Console().is_jupyter else Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("of which left:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    warned = set[str]()
    tenths = 0
    explained = False
    foretold = not issubclass(METHODS[config.method.name], StepMethod)
    numbers = ""
    with Progress(*columns, console=console, disable=not bar) as shown:
        task = shown.add_task("", total=1.0, numbers="looking at both sets")

        def watch(report: Report) -> None:
            nonlocal tenths, foretold, explained, numbers
            known = report.step >= FIRST_STEPS or bool(report.averages)
            if not foretold and known and report.fraction < 1:
                said = worded(outlook(config.train, report))
                console.print(said, soft_wrap=True, highlight=False)
                foretold = True
            if not explained and A2BGAN_NUMBERS["mask open"] in report.averages:
                console.print(WHAT_IS_GOOD, soft_wrap=True, highlight=False, style="dim")
                explained = True
            if report.averages:
                numbers = "  ".join(_words(report.averages))
            line = f"step {report.step}  {report.steps_per_second:.2g} steps/s  {numbers}"
            shown.update(task, completed=report.fraction, numbers=line)
            if not bar and int(10 * report.fraction) > tenths:
                tenths = int(10 * report.fraction)
                console.print(
                    f"{min(report.fraction, 1):4.0%}  {line}", soft_wrap=True, highlight=False
                )
            if report.warning is not None and (kind := report.warning.split("(")[0]) not in warned:
                warned.add(kind)
                console.print(f"[yellow]warning:[/] {worded(report.warning)}", soft_wrap=True)

        yield watch


def _words(averages: Mapping[str, float]) -> list[str]:
    """Losses beside the bar: A2B-GAN's by plain names, the first four of other methods."""
    known = {name: averages[key] for name, key in A2BGAN_NUMBERS.items() if key in averages}
    return [
        f"mask open {value:.0%}" if name == "mask open" else f"{name.replace('_', ' ')} {value:.2f}"
        for name, value in (known or dict(list(averages.items())[:4])).items()
    ]


def outlook(settings: TrainConfig, report: Report) -> str:
    """Say how long the rest of a training takes, or how many steps its minutes allow.

    By the steps so far, which are often a quarter off; no time of checkpoints is counted.
    """
    rate = report.steps_per_second
    if settings.minutes is None:
        assert settings.steps is not None
        minutes = (settings.steps - report.step) / rate / 60
        return f"about {minutes:.2g} more minutes, at {rate:.2g} steps a second"
    seconds = 60 * settings.minutes
    steps = report.step + rate * seconds * (1 - report.fraction)
    said = f"about {float(f'{steps:.2g}'):.0f} steps in {settings.minutes:g} minutes"
    least = settings.least_steps
    if least is None or steps >= least:
        return said
    needed = (seconds * report.fraction + (least - report.step) / rate) / 60
    minutes = math.ceil(1.25 * needed)
    return (
        f"[yellow]{said}[/] by the first ones, which are slow; fewer than {least} are too few. To "
        f"be safe, stop and begin anew with train.minutes={minutes}"
    )
