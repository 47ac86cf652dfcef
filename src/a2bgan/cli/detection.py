"""`a2bgan evaluate`, `a2bgan predict` and `a2bgan figure`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from a2bgan.cli.console import errors, list_failures, output

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest
    from a2bgan.detection.trained import Trained

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `train`.")]
DataOption = Annotated[
    str | None, typer.Option(help="Manifest, folder or 'phantom'; by default the run's own.")
]
SplitOption = Annotated[str, typer.Option(help="Split of the manifest.")]
ScoreOption = Annotated[
    str, typer.Option(help="How a map becomes a score: mean, smooth-max, top-k, mask-weighted.")
]
CheckpointOption = Annotated[str, typer.Option(help="last, or a checkpoint's step.")]
VmaxOption = Annotated[
    float | None,
    typer.Option(help="Top of the difference scale, as a share of the range.", show_default="0.3"),
]


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    split: SplitOption = "test",
    score: ScoreOption = "mean",
    checkpoint: CheckpointOption = "last",
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write.", show_default="RUN/metrics.json")
    ] = None,
) -> None:
    """Measure detection and localisation on labelled images."""
    from a2bgan.detection.evaluate import evaluate as measure

    trained, manifest = _open(run, data, checkpoint)
    result = measure(trained, manifest, split=split, score=score)
    list_failures([(f.name, f.reason) for f in result.failures], "left out of the evaluation")
    target = out if out is not None else run / "metrics.json"
    target.write_text(json.dumps(result.metrics, indent=2) + "\n")
    _print_metrics(result.metrics)
    output.print(f"-> {target}", soft_wrap=True)
    if result.failures:
        raise typer.Exit(1)


def predict(
    run: RunArgument,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images, folders or manifests.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    score: ScoreOption = "mean",
    checkpoint: CheckpointOption = "last",
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Write a picture of each image.")
    ] = True,
    vmax: VmaxOption = None,
) -> None:
    """Score images and show where they differ from their healthy twins."""
    from rich.progress import track

    from a2bgan.detection import predict as prediction
    from a2bgan.detection.trained import load_trained
    from a2bgan.report.pictures import DEFAULT_VMAX
    from a2bgan.report.predictions import write_predictions
    from a2bgan.training.run_folder import RunFolder

    found = prediction.find_inputs(inputs)
    trained = load_trained(RunFolder.open(run), checkpoint)
    written = write_predictions(
        track(
            prediction.predict(trained, found, score),
            total=len(found),
            console=errors,
            description="scoring",
        ),
        out,
        pictures=pictures,
        vmax=DEFAULT_VMAX if vmax is None else vmax,
    )
    output.print(f"{written.scored} images scored -> {out / 'scores.csv'}", soft_wrap=True)
    list_failures(written.failures, "could not be scored")
    if written.failures:
        raise typer.Exit(1)


def figure(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")],
    data: DataOption = None,
    split: SplitOption = "test",
    count: Annotated[int, typer.Option(min=1, help="Images of each label.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
    score: ScoreOption = "mean",
    checkpoint: CheckpointOption = "last",
    vmax: VmaxOption = None,
) -> None:
    """Draw test images, their healthy twins and the differences, as the paper does."""
    from a2bgan.report.pictures import DEFAULT_VMAX
    from a2bgan.report.run_figure import write_run_figure

    trained, manifest = _open(run, data, checkpoint)
    write_run_figure(
        trained,
        manifest,
        out,
        split=split,
        count=count,
        seed=seed,
        score=score,
        vmax=DEFAULT_VMAX if vmax is None else vmax,
    )
    output.print(f"-> {out}", soft_wrap=True)


def _open(run: Path, data: str | None, checkpoint: str) -> "tuple[Trained, Manifest]":
    from a2bgan.data.manifest import open_data
    from a2bgan.detection.trained import load_trained
    from a2bgan.training.run_folder import RunFolder

    folder = RunFolder.open(run)
    manifest = folder.manifest() if data is None else open_data(data)
    return load_trained(folder, checkpoint), manifest


def _print_metrics(metrics: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False)
    interval = metrics["auroc_ci"]
    for name, value in metrics.items():
        if name in ("auroc_ci", "manifest_sha256"):
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        if value is None:
            shown = "not defined here"
        if name == "auroc" and interval is not None:
            shown += f"  (95 % {interval[0]:.4f} to {interval[1]:.4f}, patients resampled)"
        table.add_row(name, shown)
    output.print(table)
