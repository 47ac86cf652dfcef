"""One self-contained HTML file about a run that people without the software can read."""

import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from a2bgan.data.cache.images import load_images
from a2bgan.data.holdout import Holdout
from a2bgan.data.manifest import Manifest, Row
from a2bgan.detection import conformal
from a2bgan.detection.calibration import Calibration, usable_calibration
from a2bgan.detection.doubts import DOUBTS
from a2bgan.detection.evaluate import Evaluation, evaluate
from a2bgan.detection.held_out import describe_learned, load_part, without_learned
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.position import position_warning
from a2bgan.detection.roc import roc_band
from a2bgan.detection.score_audit import ScoreAudit, audit_score
from a2bgan.detection.selection import read_candidates, shown_error
from a2bgan.detection.shortcuts import audit_shortcuts
from a2bgan.detection.subgroups import Subgroup
from a2bgan.detection.trained import Pick, Trained, load_trained, read_selection
from a2bgan.detection.verdict import RATE, no_better_than_trivial, verdict
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.report import charts
from a2bgan.report.case_names import CaseNames
from a2bgan.report.case_pictures import case_groups, healthiest_mistakes
from a2bgan.report.data_uris import pixels_uri, png_uri, svg_uri
from a2bgan.report.pictures import MAP_NAME, colour_bar, map_unit
from a2bgan.report.pointing_table import pointing_table
from a2bgan.report.run_figure import write_run_figure
from a2bgan.report.thresholds import say_outliers, say_too_few
from a2bgan.report.written_names import escaped
from a2bgan.training.run_folder import RunFolder

RATES = (0.01, 0.05, 0.1)


def write_report(
    run: RunFolder,
    out: Path,
    *,
    manifest: Manifest | None = None,
    rate: float = 0.05,
    show_ids: bool = False,
) -> None:
    """Write the report of a run: decisions, measures on labelled test images, cases and settings.

    Nothing in it refers to another file or to the network. Patients are called by pseudonyms, whose
    key is written beside it (``report-key.csv`` for ``report.html``), readable by its owner alone,
    unless ``show_ids``; paths are never shown.

    Args:
        run: with at least one checkpoint.
        out: HTML file to write.
        manifest: whose test split is shown; by default the run's own.
        rate: false-alarm rate whose threshold is drawn.

    Raises InputError if there is no checkpoint, or the images or ``out`` cannot be had.
    """
    trained = load_trained(run)
    facts = trained.method.facts
    selection = read_selection(run)
    own = run.manifest()
    manifest = own if manifest is None else manifest
    calibration = usable_calibration(run, trained.pick)
    tested = None
    if any(row.label is not None for row in manifest.split("test")):
        tested = evaluate(trained, manifest, calibration=calibration)
    rows, scores = _test_scores(trained, manifest, tested)
    strangers, their_scores = _strangers(run, trained, own)
    names = CaseNames([*manifest.split("test"), *strangers], show_ids)
    key = out.with_name(f"{out.stem}-key.csv")
    audit = audit_shortcuts(own, trained.config.data)
    losses = charts.losses_chart(list(run.metrics()))
    context = {
        "version": version("a2bgan"),
        "method": facts.title,
        "doubts": (selection or {}).get(DOUBTS, []),
        "leaks": _leaks(run, None if manifest is own else manifest),
        "summary": _summary(selection or {}, tested, calibration, rate),
        "warnings": _warnings(selection, trained.method.note, tested, calibration, rate),
        "metrics": None if tested is None else _metrics_table(tested.metrics),
        "roc": None if tested is None else _roc(tested),
        "histogram": _histogram(run, trained, tested, calibration, rate),
        "thresholds": _threshold_table(calibration, tested),
        "observed": tested is not None,
        "calibration_patients": 0 if calibration is None else len(calibration.patient_scores),
        "case_groups": [
            *case_groups(trained, rows, scores, calibration, names),
            *healthiest_mistakes(trained, strangers, their_scores, calibration, names),
        ],
        "colour_scale": pixels_uri(np.rot90(colour_bar(), -1)),
        "vmax": f"{trained.method.map_scale:.3g}",
        "makes_map": facts.makes_map,
        "map_name": MAP_NAME,
        "map_unit": map_unit(facts.makes_twin),
        "localisation": _localisation(trained, manifest, tested, calibration),
        "subgroups": [] if tested is None else _subgroups(tested.metrics),
        "confusion": {} if tested is None else tested.metrics.get("confusion", {}),
        "counted_as": "patients" if tested is None else tested.metrics["counted_as"],
        "outliers": "" if calibration is None else say_outliers(calibration),
        "pointing": [] if tested is None else pointing_table(tested.metrics),
        "selection_chart": _selection(run, trained),
        "selection": _selection_table(selection or {}, trained.pick),
        "losses": None if losses is None else svg_uri(losses),
        "shortcuts": audit,
        "score_audit": _score_audit(
            run, trained, strangers, their_scores, tested if manifest is own else None
        ),
        "data": _data_table(run, own, manifest),
        "manifest_sha256": manifest.sha256,
        "show_ids": show_ids,
        "key": escaped(key.name),
        "config": yaml.safe_dump(
            _names_only(trained.config.model_dump(mode="json")), sort_keys=False
        ),
        "environment": yaml.safe_dump(run.environment(), sort_keys=False),
    }
    environment = Environment(
        loader=PackageLoader("a2bgan.report"), autoescape=True, undefined=StrictUndefined
    )
    try:
        if not show_ids:
            names.write_key(key)
        write_atomically(out, environment.get_template("report.html.j2").render(context))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None


def _leaks(run: RunFolder, shown: Manifest | None) -> list[str]:
    """What the test images shown have in common with those that were learned from."""
    if shown is None:
        return run.manifest_leaks()
    return describe_learned(run, shown.split("test"), "these test images")


def _subgroups(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [Subgroup(**group).cells() for group in metrics.get("subgroups", [])]


def _percent(rate: float) -> str:
    """A rate as it was given: 0.005 is 0.5%, not 0%."""
    return f"{100 * rate:g}%"


def _test_scores(
    trained: Trained, manifest: Manifest, tested: Evaluation | None
) -> tuple[Sequence[Row], np.ndarray]:
    """The test images that can be read, with labels or without, and their scores."""
    if tested is not None:
        return tested.rows, tested.scores
    rows = manifest.split("test")
    loaded = load_images([r.path for r in rows], [r.name for r in rows], trained.config.data)
    return [rows[i] for i in loaded.index], trained.scores(loaded.images)


def _summary(
    selection: Mapping[str, Any],
    tested: Evaluation | None,
    calibration: Calibration | None,
    rate: float,
) -> list[str]:
    """Two sentences: how well it detects, and what it says of the mixed set and of health."""
    if tested is not None and tested.metrics["auroc"] is not None:
        m = tested.metrics
        first = f"On {m['n_normal']} normal and {m['n_abnormal']} abnormal test images the score "
        first += f"{verdict(m['auroc'], m['auroc_ci'])}: AUROC {m['auroc']:.3f}"
        if m["auroc_ci"] is not None:
            first += f" (95 % interval {m['auroc_ci'][0]:.3f} to {m['auroc_ci'][1]:.3f})"
        first += "."
        if "sensitivity" in m and "specificity" in m:
            first += (
                f" At a rate of {_percent(RATE)}, {m['sensitivity']:.0%} of the abnormal and "
                f"{1 - m['specificity']:.0%} of the normal {m['counted_as']} are flagged."
            )
    elif "aucp" in selection:
        first = (
            f"No labelled test images of both kinds; held-out mixed images score above held-out "
            f"healthy ones with an AUCp of {selection['aucp']:.3f} "
            f"(standard error {shown_error(selection)})."
        )
    else:
        first = (
            "No labelled test images of both kinds and none held out to select by: how well scores "
            "separate healthy from diseased was not measured."
        )
    second = ""
    if "diseased_share" in selection:
        low, high = selection["diseased_share_ci"]
        second += (
            f"About {selection['diseased_share']:.0%} of the mixed set seem diseased "
            f"(95 % interval {low:.0%} to {high:.0%})"
        )
    if calibration is not None:
        second += "; patients" if second else "Patients"
        limit = conformal.threshold(calibration.patient_scores, rate)
        if np.isfinite(limit):
            second += f" with a score above {limit:.5f} are flagged, at most {_percent(rate)} of"
            second += f" healthy ones like the {len(calibration.patient_scores)} held out"
        else:
            second += f" cannot be flagged at a rate of {_percent(rate)}: too few healthy were"
            second += " held out"
    return [first, second + "."] if second else [first]


def _warnings(
    selection: Mapping[str, Any] | None,
    note: str | None,
    tested: Evaluation | None,
    calibration: Calibration | None,
    rate: float,
) -> list[str]:
    found = [] if note is None else [f"All results here are with {note}."]
    if selection is None:
        found.append("Nothing was selected: this is the last checkpoint.")
    if tested is not None and (said := no_better_than_trivial(tested.metrics)):
        found.append(f"{said[0].upper()}{said[1:]}.")
    if calibration is not None and (few := say_too_few(len(calibration.patient_scores), rate)):
        found.append(f"{few}.")
    if tested is not None and (warning := position_warning(tested.metrics)):
        found.append(f"{warning[0].upper()}{warning[1:]}.")
    return found


def _metrics_table(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    names = {
        "auroc": "AUROC",
        "map_auroc": "AUROC of the best score of the map",
        "trivial_auroc": "AUROC of the trivial statistic that does best",
        "trivial_statistic": "that statistic",
        "auprc": "area under precision and recall",
        "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
        "sensitivity": "abnormal patients that the threshold flags at 5 %",
        "specificity": "normal patients that it leaves alone",
        "dice": "overlap of contours and lesions (Dice)",
        "region_f1": "contours that meet a lesion and lesions that a contour meets (F1)",
        "healthy_with_contour": "share of normal images with a contour",
        "twin_psnr_inside": "error of the healthy twin inside lesions (PSNR, dB)",
        "twin_psnr_outside": "error of the healthy twin elsewhere (PSNR, dB)",
        "n_failed": "images left out, unreadable",
        "n_masks_failed": "masks left out, unreadable",
    }
    table = []
    for key, name in names.items():
        value = metrics.get(key)
        if value is not None:
            table.append((name, f"{value:.4f}" if isinstance(value, float) else str(value)))
    return table


def _roc(tested: Evaluation) -> str | None:
    band = roc_band(tested.labels, tested.scores, tested.patients)
    if band is None:
        return None
    metrics = tested.metrics
    return svg_uri(charts.roc_chart(band, metrics["auroc"], metrics["auroc_ci"]))


def _histogram(
    run: RunFolder,
    trained: Trained,
    tested: Evaluation | None,
    calibration: Calibration | None,
    rate: float,
) -> str:
    mixed = load_part(run, "mixed", "selection", trained.config.selection.images).images
    scores: dict[str, np.ndarray] = {
        "healthy, held out": np.empty(0) if calibration is None else calibration.image_scores,
        "mixed, held out": trained.scores(mixed),
    }
    if tested is not None:
        scores["test, normal"] = tested.scores[tested.labels == 0]
        scores["test, abnormal"] = tested.scores[tested.labels == 1]
    if not any(map(len, scores.values())):
        raise InputError(f"{run.path}: nothing held out and no labelled test images to report on")
    limit = None if calibration is None else conformal.threshold(calibration.patient_scores, rate)
    return svg_uri(charts.histogram_chart(scores, limit))


def _strangers(run: RunFolder, trained: Trained, own: Manifest) -> tuple[list[Row], np.ndarray]:
    """The healthy images of the calibration that can be read, and their scores."""
    rows = Holdout.read(run.holdout_file).rows(own, "healthy", "calibration")
    loaded = load_images([r.path for r in rows], [r.name for r in rows], trained.config.data)
    return [rows[i] for i in loaded.index], trained.scores(loaded.images)


def _score_audit(
    run: RunFolder,
    trained: Trained,
    strangers: Sequence[Row],
    scores: np.ndarray,
    tested: Evaluation | None,
) -> ScoreAudit | None:
    """Of the healthy images of the calibration and, of the run's own test, of normal patients."""
    rows = list(strangers)
    if tested is not None:
        diseased = {r.patient_id for r in tested.rows if r.label == 1}
        unseen = {r.name for r in without_learned(run, tested.rows)}
        normal = [
            k
            for k, r in enumerate(tested.rows)
            if r.name in unseen and r.patient_id not in diseased
        ]
        rows += [tested.rows[k] for k in normal]
        scores = np.concatenate([scores, tested.scores[normal]])
    return audit_score(rows, scores, trained.config.data, trained.pick.patients)


def _threshold_table(
    calibration: Calibration | None, tested: Evaluation | None
) -> list[tuple[str, ...]]:
    if calibration is None:
        return []
    reference = calibration.patient_scores
    observed: dict[int, dict[str, float]] = {}
    if tested is not None:
        people = [row.patient_id for row in tested.rows]
        p_values = calibration.p_values(people, tested.scores)
        label_of = by_patient(people, tested.labels)  # abnormal when an image is
        for label in (0, 1):
            observed[label] = {
                who: p for who, p in zip(people, p_values, strict=True) if label_of[who] == label
            }
    table = []
    for rate in RATES:
        limit = conformal.threshold(reference, rate)
        cells = [_percent(rate)]
        if np.isfinite(limit):
            worst = conformal.worst_rate(len(reference), rate)
            cells += [f"{limit:.5f}", _percent(rate), f"{worst:.1%}"]
        else:
            cells += ["none", "0 %, nothing is flagged", "0 %"]
        for of_patient in observed.values():
            flagged = [p <= rate for p in of_patient.values()]
            cells.append(f"{np.mean(flagged):.1%} of {len(flagged)}" if flagged else "none there")
        table.append(tuple(cells))
    return table


def _localisation(
    trained: Trained,
    manifest: Manifest,
    tested: Evaluation | None,
    calibration: Calibration | None,
) -> str | None:
    if tested is None or "pixel_auroc" not in tested.metrics:
        return None
    picture = io.BytesIO()
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    write_run_figure(trained, manifest, picture, count=4, pixel_threshold=pixel_threshold)
    return png_uri(picture.getvalue())


def _selection(run: RunFolder, trained: Trained) -> str | None:
    candidates = read_candidates(run)
    return svg_uri(charts.selection_chart(candidates, trained.pick)) if candidates else None


def _selection_table(selection: Mapping[str, Any], pick: Pick) -> list[tuple[str, str]]:
    rules = {
        "aucp": "AUCp, without labels",
        "fid": "FID, the paper's rule",
        "labels": "AUROC on a few labelled images",
        "last": "the last checkpoint",
    }
    table = [
        ("checkpoint", f"{pick.checkpoint}, {pick.version} weights"),
        ("score", pick.score),
        ("selected by", rules.get(pick.rule, pick.rule)),
    ]
    if "features" in selection:
        table.append(("FID", f"{selection['fid']:.2f}, {selection['features']}"))
    if "diseased_share" in selection:
        low, high = selection["diseased_share_ci"]
        share = f"{selection['diseased_share']:.0%} (95 % {low:.0%} to {high:.0%})"
        table.append(("estimated share of diseased in the mixed set", share))
    return table


def _data_table(run: RunFolder, own: Manifest, shown: Manifest) -> list[tuple[str, ...]]:
    """Of the run's own manifest what it learned from, and the test images that are shown."""
    holdout = Holdout.read(run.holdout_file)
    sets: dict[str, Sequence[Row]] = {
        "healthy, trained on": holdout.rows(own, "healthy", "training"),
        "healthy, to select by": holdout.rows(own, "healthy", "selection"),
        "healthy, for the threshold": holdout.rows(own, "healthy", "calibration"),
        "mixed, trained on": holdout.rows(own, "mixed", "training"),
        "mixed, to select by": holdout.rows(own, "mixed", "selection"),
        "test": shown.split("test"),
    }
    table = []
    for name, rows in sets.items():
        cells = [name, str(len(rows)), str(len({row.patient_id for row in rows}))]
        # Labels of the mixed set may exist for analysis; they are nobody's business here.
        for value in (0, 1):
            cells.append(str(sum(row.label == value for row in rows)) if name == "test" else "")
        if name == "test" and shown.where:
            cells[0] += f" ({shown.where})"
        table.append(tuple(cells))
    return table


def _names_only(settings: Any) -> Any:
    """Settings with names of files in place of their paths."""
    if isinstance(settings, dict):
        return {key: _names_only(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [_names_only(value) for value in settings]
    return Path(settings).name if isinstance(settings, str) else settings
