"""Compare translators on the same images: train them, measure them, make table and picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from a2bgan.benchmark.child_commands import Children
from a2bgan.benchmark.runs import Benchmark, Compared, Report, Training
from a2bgan.benchmark.text_tables import MethodRow
from a2bgan.benchmark.translation_figure import write_translation_figure
from a2bgan.benchmark.translation_table import translation_table, write_translation_tables
from a2bgan.detection.measures.fid import FeatureNetwork
from a2bgan.detection.measures.translation_quality import measure_translation, network_counts
from a2bgan.detection.trained_model import load_trained, read_pick
from a2bgan.errors import InputError
from a2bgan.training.checkpoint import find_checkpoint, read_position
from a2bgan.training.run_folder import RunFolder


def compare_translators(
    benchmark: Benchmark, network: FeatureNetwork, lpips: Path | None, report: Report
) -> Compared:
    """Train what is left to do, one after the other, measure it, and write table and picture."""
    rows = []
    with Children() as children:
        for name, facts in benchmark.facts.items():
            found = [_measured(t, children, network, lpips) for t in benchmark.of(name)]
            rows.append(MethodRow(name, facts, *benchmark.successes(found)))
            result = rows[-1].failure or f"FID {rows[-1].mean('fid'):.4f}"
            report(f"{rows[-1].title}: {result}")
    head, cells = translation_table(rows)
    files = write_translation_tables(benchmark.out, rows, benchmark.command, lpips is not None)
    picture = benchmark.out / "translation.png"
    picture.unlink(missing_ok=True)  # of what another call trained
    trouble = ""
    first = {row.name: benchmark.trainings[row.name, 0] for row in rows if not row.failure}
    if first:
        try:
            models = {name: load_trained(training.run) for name, training in first.items()}
            write_translation_figure(picture, models, next(iter(first.values())).manifest)
            files.append(picture)
        except InputError as error:
            trouble = f"no picture of the translations: {error}"
    return Compared(head, cells, files, any(row.failure for row in rows), trouble)


def _measured(
    training: Training, children: Children, network: FeatureNetwork, lpips: Path | None
) -> dict[str, Any] | str:
    """Train and measure as far as that is not done; return the reason if it fails."""
    run = training.run
    file = run.path / "translation.json"
    asked = {"manifest_sha256": training.manifest.sha256, "lpips_asked": lpips is not None}
    if file.exists():
        try:
            known: dict[str, Any] = json.loads(file.read_text())
            current = asked | {"features": network.label, "picked": _pick(run)}
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
        "picked": _pick(run),
        **asked,
        **json.loads(run.resources_file.read_text()),
    }
    file.write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def _pick(run: RunFolder) -> dict[str, Any] | None:
    pick = read_pick(run)
    return None if pick is None else asdict(pick)
