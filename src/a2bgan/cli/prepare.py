"""`a2bgan data prepare`: public data sets, as they are downloaded, become sets with a manifest."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import say, say_next, say_written, stdout, with_options


def prepare(
    kind: Annotated[
        str,
        typer.Argument(
            help="covidx, chestxray8, celeba, medianomaly, bmad, mvtec or medmnist.",
            show_default=False,
        ),
    ],
    root: Annotated[Path, typer.Option(help="The download, unpacked or not.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    split: Annotated[
        str | None,
        typer.Option(help="patient (the default): each on one side; paper: image by image."),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="covidx, chestxray8: folder with healthy.txt, mixed.txt and test.txt, a file name "
            "a line, such as its authors' split; in place of --split."
        ),
    ] = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="Paper's split in proportion, of other numbers.")
    ] = False,
    finding: Annotated[
        str | None, typer.Option(help="chestxray8: the disease; by default Cardiomegaly.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="chestxray8: PA (the default), AP or any.")
    ] = None,
    normal_class: Annotated[
        int | None, typer.Option(help="medmnist: the label that is normal.")
    ] = None,
    mixed_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the abnormal test images (mvtec, medianomaly) or of the normal training "
            "images (medmnist) that goes into the mixed set; by default 0.5. bmad: share of the "
            "abnormal test images that joins it; by default none. celeba with --task: "
            "share of the mixed set that is without the attribute; by default 0."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="celeba, for translation: eyeglasses or male2female.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same manifest.")] = 0,
) -> None:
    """Make a set of a public data set that was downloaded. Nothing is downloaded here.

    MedMNIST: after `pip install medmnist`, in Python, `medmnist.PneumoniaMNIST("train",
    download=True, size=128)` puts pneumoniamnist_128.npz into ~/.medmnist; that file is its
    --root.
    """
    from a2bgan.data.prepare import prepare as prepare_set

    made = prepare_set(
        kind,
        root,
        out,
        split=split,
        lists=lists,
        scale=scale or None,
        finding=finding,
        view=view,
        normal_class=normal_class,
        mixed_share=mixed_share,
        task=task,
        seed=seed,
    )
    for part in ("healthy", "mixed", "test"):
        normal, abnormal = made.counts[part, 0], made.counts[part, 1]
        say(f"{part}: {normal} normal, {abnormal} abnormal")
    for note in made.notes:
        stdout.print(
            f"[yellow]note:[/] {escape(with_options(note))}", soft_wrap=True, highlight=False
        )
    say_written(made.manifest)
    say_next("data", "check", made.manifest)
