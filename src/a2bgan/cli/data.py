"""`a2bgan data`: look at images before training, and make sets with a known answer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from a2bgan.cli.console import (
    counting,
    list_failures,
    say,
    say_next,
    say_written,
    stdout,
    with_options,
)
from a2bgan.cli.data_options import KeepIdentifiersOption, WhereOption, open_chosen
from a2bgan.cli.prepare import prepare
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.check import DataCheck
    from a2bgan.detection.audit.shortcuts import Audit

# `a2bgan.data.generate.phantoms.DISEASES`, whose import would make every `--help` slower.
SHOWN_DISEASES = "focal_opacity, diffuse_opacity, enlarged_heart or effusion"

OutOption = Annotated[Path, typer.Option(help="Folder to make.", show_default=False)]
SizeOption = Annotated[int, typer.Option(min=32, help="Side of the images.")]
HealthyOption = Annotated[int, typer.Option(min=1, help="Images of the healthy set (B).")]
MixedNormalOption = Annotated[int, typer.Option(min=0, help="Normal ones in the mixed set (A).")]
MixedAbnormalOption = Annotated[int, typer.Option(min=0, help="Abnormal ones there.")]
TestNormalOption = Annotated[int, typer.Option(min=0, help="Normal ones in the test set.")]
TestAbnormalOption = Annotated[int, typer.Option(min=0, help="Abnormal ones there.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]

app = typer.Typer(
    help="Look at data before training; make sets with a known answer.", no_args_is_help=True
)
app.command()(prepare)


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="Manifest (.csv), folder, or 'phantom'.")],
    preset: Annotated[str, typer.Option(help="Preset whose preprocessing is used.")] = "fast",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as data.size=128.")
    ] = None,
    sheet: Annotated[Path, typer.Option(help="Contact sheet to write.")] = Path("data-check.png"),
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Counts, sizes, intensities, unreadable files, duplicates, shared patients and shortcuts."""
    from a2bgan.data.check import CHECKED_SPLITS, check_data
    from a2bgan.data.contact_sheet import contact_sheet
    from a2bgan.data.image_size import settled_for
    from a2bgan.detection.audit.shortcuts import audit_shortcuts
    from a2bgan.detection.audit.trivial_statistics import LOOKED_AT
    from a2bgan.training.config import load_config

    config = load_config(preset, None, set_ or []).data
    manifest = open_chosen(data, config, where, keep_identifiers)
    config = settled_for(config, manifest)
    counts = manifest.counts()
    with counting("reading", sum(counts[split] for split in CHECKED_SPLITS)) as watch:
        result = check_data(manifest, config, watch=watch)
    _print_check(result)
    looked_at = sum(min(counts[split], LOOKED_AT) for split in ("healthy", "mixed"))
    with counting("looking for shortcuts", looked_at) as watch:
        audit = audit_shortcuts(manifest, config, watch)
    if audit is not None:
        _print_audit(audit)
    if result.images:
        contact_sheet(result.images, sheet)
        say_written(sheet)
    failed = [failure for failures in result.failures.values() for failure in failures]
    list_failures(failed, "cannot be read")
    for warning in [*result.warnings, *([] if audit is None else audit.warnings())]:
        stdout.print(f"[yellow]warning:[/] {escape(with_options(warning))}", soft_wrap=True)
    for error in result.errors:
        stdout.print(f"[red]error:[/] {escape(error)}", soft_wrap=True)
    if result.errors or failed:
        raise typer.Exit(1)
    stdout.print("[green]ready to train[/]")
    options = [part for name in set_ or () for part in ("--set", name)]
    options += ["--preset", preset] if preset != "fast" else []
    options += ["--where", where] if where else []
    options += ["--keep-identifiers"] if keep_identifiers else []
    say_next("train", "--data", data, "--out", "runs/mine", *options)


@app.command()
def simulate(
    images: Annotated[Path, typer.Option(help="Folder of images.", show_default=False)],
    out: OutOption,
    size: Annotated[int, typer.Option(min=32, help="Side of the images, a multiple of 4.")] = 128,
    square: Annotated[int, typer.Option(min=1, help="Side of the squares.")] = 40,
    healthy: HealthyOption = 5000,
    mixed_normal: MixedNormalOption = 3500,
    mixed_abnormal: MixedAbnormalOption = 1500,
    test_normal: TestNormalOption = 2500,
    test_abnormal: TestAbnormalOption = 2500,
    seed: SeedOption = 0,
) -> None:
    """The paper's simulated anomalies: a square, somewhere, replaced by its mean."""
    from a2bgan.data.generate.squares import simulate_squares

    counts = SetCounts(healthy, mixed_normal, mixed_abnormal, test_normal, test_abnormal)
    made = simulate_squares(images, out, size=size, square=square, seed=seed, **asdict(counts))
    list_failures(made.skipped, "skipped")
    _say_made(made.manifest)


def _size_option(name: str, least: int, images: int, volumes: int) -> Any:
    """An option whose default is another one for volumes."""
    return typer.Option(min=least, help=name, show_default=f"{images}; volumes: {volumes}")


@app.command()
def phantom(
    out: OutOption,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Heads as NIfTI, in many orientations.")
    ] = False,
    size: Annotated[int | None, _size_option("Side of the images.", 32, 128, 64)] = None,
    healthy: Annotated[
        int | None, _size_option("Images of the healthy set (B).", 1, 1000, 60)
    ] = None,
    mixed_normal: Annotated[
        int | None, _size_option("Healthy ones in the mixed set (A).", 0, 500, 30)
    ] = None,
    mixed_abnormal: Annotated[int | None, _size_option("Diseased ones there.", 0, 500, 30)] = None,
    test_normal: Annotated[
        int | None, _size_option("Healthy ones in the test set.", 0, 200, 15)
    ] = None,
    test_abnormal: Annotated[int | None, _size_option("Diseased ones there.", 0, 200, 15)] = None,
    mixed_kinds: Annotated[
        str | None,
        typer.Option(
            help=f"Diseases of the mixed set, with commas between: {SHOWN_DISEASES}.",
            show_default="all",
        ),
    ] = None,
    test_kinds: Annotated[
        str | None, typer.Option(help="Diseases of the test set, of the same.", show_default="all")
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(help="In place of diseases: tube, pacemaker or marker, with commas between."),
    ] = None,
    shortcut: Annotated[
        str | None, typer.Option(help="Trait that gives the diseased away: exposure or marker.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Chest-like images with several diseases, or heads as volumes, masks, exact healthy twins."""
    given = {
        "size": size,
        "healthy": healthy,
        "mixed_normal": mixed_normal,
        "mixed_abnormal": mixed_abnormal,
        "test_normal": test_normal,
        "test_abnormal": test_abnormal,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if volumes:
        from a2bgan.data.generate.phantom_volumes import write_phantom_volumes

        if mixed_kinds or test_kinds or shortcut or objects:
            raise InputError("--volumes has one disease: leave out kinds, --objects and --shortcut")
        manifest = write_phantom_volumes(out, seed=seed, **chosen)
    else:
        from a2bgan.data.generate.phantoms import write_phantoms

        if objects is not None:
            if mixed_kinds is not None or test_kinds is not None:
                raise InputError("--objects takes the place of --mixed-kinds and --test-kinds")
            mixed_kinds = test_kinds = objects
        manifest = write_phantoms(
            out,
            mixed_kinds=None if mixed_kinds is None else mixed_kinds.split(","),
            test_kinds=None if test_kinds is None else test_kinds.split(","),
            shortcut=shortcut,
            seed=seed,
            **chosen,
        )
    _say_made(manifest)


@app.command()
def faces(
    out: OutOption,
    size: SizeOption = 64,
    healthy: HealthyOption = 1000,
    mixed_normal: MixedNormalOption = 0,
    mixed_abnormal: MixedAbnormalOption = 1000,
    test_normal: TestNormalOption = 200,
    test_abnormal: TestAbnormalOption = 200,
    seed: SeedOption = 0,
) -> None:
    """Drawn faces, normal ones without glasses; test images have their exact counterpart."""
    from a2bgan.data.generate.faces import write_faces

    counts = SetCounts(healthy, mixed_normal, mixed_abnormal, test_normal, test_abnormal)
    _say_made(write_faces(out, size=size, seed=seed, **asdict(counts)))


def _say_made(manifest: Path) -> None:
    say_written(manifest)
    say_next("data", "check", manifest)


def _print_check(result: "DataCheck") -> None:
    from rich.table import Table

    table = Table("split", "images", "mean", "sd", "1 %", "99 %", box=None)
    for split, count in result.counts.items():
        i = result.intensity.get(split)
        values = (
            ("",) * 4
            if i is None
            else tuple(f"{v:.3g}" for v in (i.mean, i.sd, i.percentile_1, i.percentile_99))
        )
        table.add_row(split, str(count), *values)
    stdout.print(table)
    if result.sizes is not None:
        common = ", ".join(f"{w} x {h} ({n})" for (w, h), n in result.sizes.most_common)
        (w0, h0), (w1, h1) = result.sizes.smallest, result.sizes.largest
        say(f"original sizes: {w0} x {h0} to {w1} x {h1}; most common: {common}")
    depths = ", ".join(f"{name} ({n})" for name, n in result.depths.items())
    labels = ", ".join(f"{n} {name}" for name, n in result.test_labels.items() if n)
    say(f"formats: {depths or 'none'}; test labels: {labels or 'none'}")


def _print_audit(audit: "Audit") -> None:
    from rich.table import Table

    table = Table("shortcuts", "files as they are", "preprocessed", box=None)
    for cells in audit.table():
        table.add_row(*cells)
    stdout.print(table)
    images, patients = audit.images, audit.patients
    say(
        f"AUROC of {images[1]} mixed against {images[0]} healthy images by each statistic alone, "
        "without labels; intervals: 95 % for all together; ** shortcut, * suspected"
    )
    if not audit.enough:
        say(f"too few patients to name shortcuts: {patients[0]} healthy, {patients[1]} mixed")
