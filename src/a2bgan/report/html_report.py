"""One self-contained HTML file about a run that people without the software can read."""

import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from a2bgan.data.manifest import Row
from a2bgan.detection import RATE
from a2bgan.detection.audit.reliability import KEY
from a2bgan.detection.audit.subgroups import Subgroup
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.selection import shown_error
from a2bgan.detection.decisions.thresholds import outlier_warning, too_few_patients
from a2bgan.detection.evaluate import Evaluation
from a2bgan.detection.examination import Examination
from a2bgan.detection.measures import conformal
from a2bgan.detection.measures.roc import roc_band
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.summary import metric_warnings, separation
from a2bgan.detection.trained_model import Pick
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.report import charts
from a2bgan.report.case_names import CaseNames
from a2bgan.report.case_pictures import case_groups, threshold_cases
from a2bgan.report.figure import write_run_figure
from a2bgan.report.pictures import MAP_NAME, colour_bar, map_unit, pixels_uri, png_uri
from a2bgan.report.pointing_table import pointing_table
from a2bgan.report.written_names import escaped

RATES = (0.01, 0.05, 0.1)


def write_report(
    found: Examination, out: Path, *, rate: float = RATE, show_ids: bool = False
) -> None:
    """Write what an examination found: decisions, measures on test images, cases and settings.

    Nothing in the file refers to another file or to the network, and paths are never shown.

    Args:
        out: HTML file to write.
        rate: false-alarm rate whose threshold is drawn.
        show_ids: show patients as in the manifest. Otherwise they have pseudonyms, whose key is
            written beside (``report-key.csv`` for ``report.html``), readable by its owner alone.

    Raises InputError if there is nothing to report on, or ``out`` cannot be written.
    """
    trained, tested, calibration = found.trained, found.evaluation, found.calibration
    facts, metrics = trained.method.facts, {} if tested is None else tested.metrics
    names = CaseNames([*found.shown.split("test"), *found.calibration_images.rows], show_ids)
    key = out.with_name(f"{out.stem}-key.csv")
    context = {
        "version": version("a2bgan"),
        "method": facts.title,
        "doubts": found.selection.get(KEY, []),
        "leaks": found.leaks,
        "summary": _summary(found.selection, metrics, calibration, rate),
        "warnings": _warnings(found, rate),
        "metrics": _metrics_table(metrics),
        "roc": None if tested is None else _roc(tested),
        "histogram": _histogram(found, rate),
        "thresholds": _threshold_table(calibration, tested),
        "observed": tested is not None,
        "calibration_patients": 0 if calibration is None else len(calibration.patient_scores),
        "case_groups": [
            *case_groups(trained, found.test, calibration, names),
            *threshold_cases(trained, found.calibration_images, calibration, names),
        ],
        "colour_scale": pixels_uri(np.rot90(colour_bar(), -1)),
        "vmax": f"{trained.method.map_scale:.3g}",
        "makes_map": facts.makes_map,
        "map_name": MAP_NAME,
        "map_unit": map_unit(facts.makes_twin),
        "localisation": _localisation(found),
        "subgroups": [Subgroup(**group).cells() for group in metrics.get("subgroups", [])],
        "confusion": metrics.get("confusion", {}),
        "counted_as": metrics.get("counted_as", "patients"),
        "outliers": "" if calibration is None else outlier_warning(calibration),
        "pointing": pointing_table(metrics),
        "selection_chart": (
            charts.selection_chart(found.candidates, trained.pick) if found.candidates else None
        ),
        "selection": _selection_table(found.selection, trained.pick),
        "losses": charts.losses_chart(list(found.run.metrics())),
        "shortcuts": found.shortcuts,
        "score_audit": found.score_audit,
        "data": _data_table(found),
        "manifest_sha256": found.shown.sha256,
        "show_ids": show_ids,
        "key": escaped(key.name),
        "config": yaml.safe_dump(
            _names_only(trained.config.model_dump(mode="json")), sort_keys=False
        ),
        "environment": yaml.safe_dump(found.run.environment(), sort_keys=False),
    }
    environment = Environment(
        loader=PackageLoader("a2bgan.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["sentence"] = lambda text: f"{text[0].upper()}{text[1:]}."
    try:
        if not show_ids:
            names.write_key(key)
        write_atomically(out, environment.get_template("report.html.j2").render(context))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None


def _percent(rate: float) -> str:
    """A rate with all its digits: 0.005 is 0.5%, not 0%."""
    return f"{100 * rate:g}%"


def _summary(
    selection: Mapping[str, Any], m: Mapping[str, Any], calibration: Calibration | None, rate: float
) -> list[str]:
    """Two sentences, on how well scores separate test images (measures ``m``), and on the mixed set
    and the threshold."""
    if m.get("auroc") is not None:
        first = f"On {m['n_normal']} normal and {m['n_abnormal']} abnormal test images the score "
        first += f"{separation(m['auroc_ci'])}: AUROC {m['auroc']:.3f}"
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


def _warnings(found: Examination, rate: float) -> list[str]:
    """Warnings without a capital and a full stop."""
    note, calibration = found.trained.method.note, found.calibration
    warnings = [] if note is None else [f"all results here are with {note}"]
    if not found.selection:
        warnings.append("nothing was selected: this is the last checkpoint")
    if found.evaluation is not None:
        warnings += metric_warnings(found.evaluation.metrics)
    if calibration is not None:
        few = too_few_patients(len(calibration.patient_scores), rate)
        warnings += [few] if few else []
    return warnings


def _metrics_table(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
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
    return charts.roc_chart(band, tested.metrics["auroc"], tested.metrics["auroc_ci"])


def _histogram(found: Examination, rate: float) -> str:
    tested, calibration = found.evaluation, found.calibration
    scores = {
        "healthy, held out": np.empty(0) if calibration is None else calibration.image_scores,
        "mixed, held out": found.mixed_scores,
    }
    if tested is not None:
        scores["test, normal"] = tested.scores[tested.labels == 0]
        scores["test, abnormal"] = tested.scores[tested.labels == 1]
    if not any(map(len, scores.values())):
        raise InputError(
            f"{found.run.path}: nothing held out and no labelled test images to report on"
        )
    limit = None if calibration is None else conformal.threshold(calibration.patient_scores, rate)
    return charts.histogram_chart(scores, limit)


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


def _localisation(found: Examination) -> str | None:
    if found.evaluation is None or "pixel_auroc" not in found.evaluation.metrics:
        return None
    picture, calibration = io.BytesIO(), found.calibration
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    write_run_figure(found.trained, found.shown, picture, count=4, pixel_threshold=pixel_threshold)
    return png_uri(picture.getvalue())


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


def _data_table(found: Examination) -> list[tuple[str, ...]]:
    """Counts of the run's own healthy and mixed images, and of the test images that are shown."""
    holdout, own, shown = found.holdout, found.own, found.shown
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
