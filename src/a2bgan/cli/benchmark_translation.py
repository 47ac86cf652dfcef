"""`a2bgan benchmark --task translation`: translators on the same images, in one table."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2bgan.cli.benchmark_training import Training, print_columns, say_result, tell_apart
from a2bgan.cli.child_commands import Children
from a2bgan.cli.console import errors, say_written
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.detection.fid import FeatureNetwork
    from a2bgan.training.methods.method import Facts
    from a2bgan.training.run_folder import RunFolder

ON_SCREEN = ("method", "# gen.", "# disc.", "FID", "KID", "PSNR inside", "PSNR outside", "note")
"""Columns that fit a terminal, where they are there; the files have all."""


def benchmark_translation(
    trainings: Mapping[tuple[str, int], Training],
    facts: "Mapping[str, Facts]",
    out: Path,
    data: str,
    network: "FeatureNetwork",
    lpips: Path | None,
    command: str,
) -> bool:
    """Train what is left to train, one after the other, and measure it; whether any failed."""
    from a2bgan.detection.trained import load_trained
    from a2bgan.report.translation_figure import write_translation_figure
    from a2bgan.report.translation_table import (
        TranslatorRow,
        translation_table,
        write_translation_tables,
    )

    rows = []
    with Children() as children:
        for name in facts:
            found = [
                _measured(training, children, network, lpips)
                for (preset, _), training in trainings.items()
                if preset == name
            ]
            rows.append(TranslatorRow(name, facts[name], *tell_apart(found, out, data)))
            said = rows[-1].failure or f"FID {rows[-1].mean('fid'):.4f}"
            say_result(name, facts[name], said)
    head, cells = translation_table(rows)
    print_columns(head, cells, ON_SCREEN)
    for path in write_translation_tables(out, rows, command, lpips is not None):
        say_written(path)
    done = {row.name for row in rows if not row.failure}
    first = {name: t for (name, seed), t in trainings.items() if seed == 0 and name in done}
    picture = out / "translation.png"
    picture.unlink(missing_ok=True)  # of what another call trained
    if first:
        try:
            runs = {name: load_trained(training.run) for name, training in first.items()}
            write_translation_figure(picture, runs, next(iter(first.values())).manifest)
            say_written(picture)
        except InputError as error:
            errors.print(f"no picture of the translations: {error}", soft_wrap=True, markup=False)
    return any(row.failure for row in rows)


def _measured(
    training: Training, children: Children, network: "FeatureNetwork", lpips: Path | None
) -> dict[str, Any] | str:
    """What one training gives; the reason if it fails."""
    from a2bgan.detection.trained import load_trained
    from a2bgan.detection.translation import measure_translation, network_counts
    from a2bgan.training.checkpoint import find_checkpoint, read_position

    run = training.run
    file = run.path / "translation.json"
    asked = {"manifest_sha256": training.manifest.sha256, "lpips_asked": lpips is not None}
    if file.exists():
        try:
            known: dict[str, Any] = json.loads(file.read_text())
            current = asked | {"features": network.label, "picked": _picked(run)}
            if current.items() <= known.items():
                return known
        except (ValueError, AttributeError):
            pass  # damaged, or cut off where a process was killed: measured anew
    if failure := training.train(children):  # where it is over, nothing happens
        return failure
    try:
        trained = load_trained(run)
        measured = measure_translation(trained, training.manifest, network, lpips)
    except InputError as error:
        return str(error)
    generators, discriminators, parameters = network_counts(trained.method)
    position = read_position(find_checkpoint(run.checkpoints))
    measured |= {
        "generators": generators,
        "discriminators": discriminators,
        "parameters": parameters,
        "steps": position.step,
        "seconds_per_step": position.seconds / max(position.step, 1),
        "picked": _picked(run),
        **asked,
        **json.loads(run.resources_file.read_text()),
    }
    file.write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def _picked(run: "RunFolder") -> dict[str, Any] | None:
    """What the run stands for now."""
    from a2bgan.detection.trained import read_pick

    pick = read_pick(run)
    return None if pick is None else asdict(pick)
