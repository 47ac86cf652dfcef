"""A model card of a run, in the format of Hugging Face: YAML in front, then Markdown.

M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from a2bgan.data.manifest import counted_as
from a2bgan.detection import RATE
from a2bgan.detection.audit.reliability import read_weaknesses
from a2bgan.detection.decisions.calibration import usable_calibration
from a2bgan.detection.decisions.thresholds import too_few_patients
from a2bgan.detection.pick import Pick
from a2bgan.detection.summary import metric_warnings
from a2bgan.detection.trained_model import pick_of, read_selection
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.report.written_names import escaped
from a2bgan.rounding import measure_text, percent
from a2bgan.training.checkpoint import find_checkpoint, read_position
from a2bgan.training.run_folder import RunFolder

MEASURES = {
    "auroc": "AUROC",
    "patient_auroc": "AUROC of patients",
    "auprc": "AUPRC",
    "sensitivity": "sensitivity at the threshold",
    "specificity": "specificity at the threshold",
    "pixel_ap": "pixel AP",
    "position_matched_auroc": "position-matched AUROC",
    "hit_rate": "highest point in the lesion",
    "dice": "Dice of contours",
    "trivial_auroc": "AUROC of the best trivial statistic, for comparison",
}
"""Measures of ``metrics.json`` that a card lists."""


def write_model_card(run: RunFolder, out: Path) -> None:
    """Write the card from what the run folder says; images are not read, names not shown.

    Raises InputError if the run has no checkpoint or ``out`` cannot be written.
    """
    config, pick, selection = run.config(), pick_of(run), read_selection(run) or {}
    facts, metrics = config.facts, _metrics(run, pick)
    position = read_position(find_checkpoint(run.checkpoints, pick.checkpoint))
    name, environment = escaped(run.path.resolve().name), run.environment()
    decisions = [f"checkpoint `{pick.checkpoint}`, score `{pick.score}`, selected by {pick.rule}"]
    if "aucp" in selection:
        decisions.append(
            f"AUCp {measure_text(selection['aucp'])}: AUROC of held-out mixed against held-out "
            "healthy images"
        )
    calibration = usable_calibration(run, pick)
    if calibration is None:
        decisions.append("no threshold: nothing was held out for calibration")
    else:
        count = len(calibration.patient_scores)
        decisions.append(
            too_few_patients(count, RATE)
            or f"flags at p <= {RATE:g}: at most {percent(RATE)} of healthy patients like the "
            f"{count} held-out ones, on average"
        )
    text = _template().render(
        front=_front(name, facts.title, metrics),
        name=name,
        method=facts.title,
        paper=facts.paper,
        version=environment.get("packages", {}).get("a2bgan", "of an unknown version"),
        makes_map=facts.makes_map,
        makes_twin=facts.makes_twin,
        doubts=read_weaknesses(run),
        by_labels=pick.rule == "labels",
        data=_data(run),
        decisions=decisions,
        tested=f"{metrics.get('n_normal')} normal and {metrics.get('n_abnormal')} abnormal images",
        measures=_measures(metrics),
        limits=[f"{text[0].upper()}{text[1:]}." for text in metric_warnings(metrics)],
        seed=config.train.seed,
        steps=position.step,
        minutes=f"{position.seconds / 60:.1f}",
        machine=environment.get("processor", "unknown"),
    )
    try:
        write_atomically(out, text)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None


def _template() -> Any:
    loader = PackageLoader("a2bgan.report")
    # Markdown, not HTML: nothing is escaped but names, which `escaped` has made harmless.
    environment = Environment(loader=loader, autoescape=False, undefined=StrictUndefined)
    return environment.get_template("model_card.md.j2")


def _metrics(run: RunFolder, pick: Pick) -> dict[str, Any]:
    """Measures that `a2bgan evaluate` wrote for the selected model; empty where there are none."""
    try:
        found = json.loads((run.path / "metrics.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    of = tuple(found.get(key) for key in ("checkpoint", "weights", "score"))
    return found if of == (pick.checkpoint, pick.version, pick.score) else {}


def _measures(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, name in MEASURES.items():
        if isinstance(value := metrics.get(key), float):
            interval = metrics.get(f"{key}_ci")
            span = ""
            if interval is not None:
                span = f" (95 % interval {' to '.join(map(measure_text, interval))})"
            found.append((name, f"{measure_text(value)}{span}"))
    return found


def _data(run: RunFolder) -> list[str]:
    if not run.manifest_source_file.exists():
        return ["arrays in memory: the run keeps no list of them"]
    manifest = run.noted_manifest()
    lines = []
    for split, name in (("healthy", "healthy set (B)"), ("mixed", "mixed set (A)")):
        rows = manifest.split(split)
        patients = len({row.patient_id for row in rows})
        counted = f" of {patients} patients" if counted_as(rows) == "patients" else ""
        lines.append(f"{name}: {len(rows)} images{counted}, those held out included")
    lines += [f"the sets overlap: {leak}" for leak in run.manifest_leaks()]
    data = run.config().data
    return [*lines, f"seen at {data.size} x {data.size} pixels, window {data.window}"]


def _front(name: str, method: str, metrics: dict[str, Any]) -> str:
    """The YAML that Hugging Face reads."""
    values: dict[str, Any] = {
        "library_name": "a2bgan",
        "tags": ["anomaly-detection", "medical-imaging", "unsupervised", method],
    }
    if isinstance(metrics.get("auroc"), float):
        result = {
            "task": {"type": "image-classification", "name": "anomaly detection"},
            "dataset": {"name": "held-out test images", "type": "private"},
            "metrics": [{"type": "roc_auc", "name": "AUROC", "value": round(metrics["auroc"], 4)}],
        }
        values["model-index"] = [{"name": name, "results": [result]}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"
