"""One self-contained file about a run that people without the software can read, HTML or PDF."""

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

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
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.pick import Pick
from a2bgan.detection.summary import metric_warnings, separation
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file
from a2bgan.report import charts
from a2bgan.report.case_names import CaseNames
from a2bgan.report.case_pictures import LISTED, CasePages
from a2bgan.report.figure import write_run_figure
from a2bgan.report.pdf import pdf_of
from a2bgan.report.pictures import (
    CONTOUR,
    MAP_NAME,
    colour_bar,
    map_unit,
    picture_uri,
    to_pil,
)
from a2bgan.report.pointing_table import pointing_table
from a2bgan.report.written_names import escaped
from a2bgan.rounding import measure_text, percent, score_text

RATES = (0.01, 0.05, 0.1)


def write_report(
    found: Examination, out: Path, *, rate: float = RATE, show_ids: bool = False
) -> None:
    """Write what an examination found: decisions, measures on test images, cases and settings.

    Nothing in the file refers to another file or to the network, and paths are never shown.

    Args:
        out: file to write: PDF where its name ends with ``.pdf``, HTML otherwise.
        rate: false-alarm rate whose threshold is drawn.
        show_ids: show patients as in the manifest. Otherwise they have pseudonyms, whose key is
            written beside (``report-key.csv`` for ``report.html``), readable by its owner alone.

    Raises InputError if there is nothing to report on, ``out`` cannot be written, or no PDF can be
    made here.
    """
    trained, tested, calibration = found.trained, found.evaluation, found.calibration
    facts, metrics = trained.method.facts, {} if tested is None else tested.metrics
    names = CaseNames([*found.shown.split("test"), *found.calibration_images.rows], show_ids)
    key = out.with_name(f"{out.stem}-key.csv")
    pages = CasePages(trained, calibration, names, rate)
    case_groups = [*pages.groups(found.test), *pages.behind_threshold(found.calibration_images)]
    highest, others = pages.listed(found.test)
    context = {
        "version": version("a2bgan"),
        "method": facts.title,
        "run": escaped(found.run.path.resolve().name),
        "data_name": escaped(found.own.root.resolve().name),
        "shown_name": escaped(found.shown.root.resolve().name),
        "date": f"{datetime.now().astimezone():%Y-%m-%d}",
        "doubts": found.selection.get(KEY, []),
        "leaks": found.leaks,
        "answers": _answers(found, rate),
        "warnings": _warnings(found, rate),
        "metrics": _metrics_table(metrics),
        "roc": None if tested is None else charts.roc_chart(tested, calibration, rate),
        "histogram": _histogram(found, rate),
        "thresholds": _threshold_table(calibration, tested),
        "observed": tested is not None,
        "calibration_patients": 0 if calibration is None else len(calibration.patient_scores),
        "case_groups": case_groups,
        "highest": highest,
        "others": others,
        "unlisted": max(0, len(found.test.rows) - LISTED),
        "rate": percent(rate),
        "contour": CONTOUR,
        "colour_scale": picture_uri(to_pil(np.rot90(colour_bar(), -1))),
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
    page = environment.get_template("report.html.j2").render(context)
    content = pdf_of(page) if out.suffix.lower() == ".pdf" else page.encode()
    try:
        if not show_ids:
            names.write_key(key)
        with atomic_file(out) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None


def _answers(found: Examination, rate: float) -> list[tuple[str, list[str]]]:
    """The questions of the first page and sentences that answer them."""
    metrics = {} if found.evaluation is None else found.evaluation.metrics
    threshold = _threshold_sentences(found.calibration, rate)
    if found.calibration is not None and found.evaluation is not None:
        threshold += _flagged_sentences(found.calibration, found.evaluation, rate)
    return [
        ("Is this model good?", _quality_sentences(found.selection, metrics)),
        ("What does the threshold do?", threshold),
        ("What does the score follow?", _following_sentences(found, metrics)),
    ]


def _quality_sentences(selection: Mapping[str, Any], m: Mapping[str, Any]) -> list[str]:
    """Say how well scores separate test images (measures ``m``), and describe the mixed set."""
    if m.get("auroc") is not None:
        first = f"On {m['n_normal']} normal and {m['n_abnormal']} abnormal test images the score "
        first += f"{separation(m['auroc_ci'])}: AUROC {measure_text(m['auroc'])}"
        if m["auroc_ci"] is not None:
            low, high = map(measure_text, m["auroc_ci"])
            first += f" (95 % interval {low} to {high})"
        first += "."
    elif "aucp" in selection:
        first = (
            "No labelled test images of both kinds; held-out mixed images score above held-out "
            f"healthy ones with an AUCp of {measure_text(selection['aucp'])} "
            f"(standard error {shown_error(selection)})."
        )
    else:
        first = (
            "No labelled test images of both kinds and none held out to select by: how well scores "
            "separate healthy from diseased was not measured."
        )
    if "diseased_share" not in selection:
        return [first]
    low, high = map(percent, selection["diseased_share_ci"])
    share = percent(selection["diseased_share"])
    return [
        first,
        f"About {share} of the mixed set seem diseased (95 % interval {low} to {high}).",
    ]


def _threshold_sentences(calibration: Calibration | None, rate: float) -> list[str]:
    """Say what the threshold at a rate promises."""
    if calibration is None:
        return ["There is none: nobody is flagged."]
    healthy = calibration.patient_scores
    limit = conformal.threshold(healthy, rate)
    if not np.isfinite(limit):
        few = f"Patients cannot be flagged at a rate of {percent(rate)}: too few healthy were held"
        return [f"{few} out."]
    return [
        f"Patients with a score above {score_text(limit)} are flagged, at most {percent(rate)} of "
        f"healthy ones like the {len(healthy)} held out."
    ]


def _flagged_sentences(calibration: Calibration, tested: Evaluation, rate: float) -> list[str]:
    """Count the labelled test patients that are flagged at a rate."""
    normal, abnormal = _flags(calibration, tested, rate)
    shares = [
        f"{percent(float(np.mean(flags)))} of {len(flags)} {name}"
        for name, flags in (("abnormal", abnormal), ("normal", normal))
        if flags
    ]
    return [f"Of the test patients it flags {' and '.join(shares)}."]


def _flags(calibration: Calibration, tested: Evaluation, rate: float) -> tuple[list[bool], ...]:
    """True for each normal test patient that is flagged at a rate, and for each abnormal one."""
    people = [row.patient_id for row in tested.rows]
    p_of = dict(zip(people, calibration.p_values(people, tested.scores), strict=True))
    label_of = by_patient(people, tested.labels)  # abnormal when an image is
    return tuple(
        [bool(p_of[who] <= rate) for who, label in label_of.items() if label == wanted]
        for wanted in (0, 1)
    )


def _following_sentences(found: Examination, m: Mapping[str, Any]) -> list[str]:
    """Say what the score follows among the healthy, and what else separates the test images."""
    audit = found.score_audit
    if audit is None:
        sentences = [
            "Not known: there are fewer than 20 healthy patients that nothing was learned from, or "
            "all score the same."
        ]
    elif following := [d.statistic for d in audit.dependences if d.follows]:
        sentences = [
            f"Among {audit.patients} healthy patients it follows the {', the '.join(following)} of "
            "their files: false alarms come from there."
        ]
    else:
        sentences = [
            f"Among {audit.patients} healthy patients it follows none of "
            f"{len(audit.dependences)} trivial statistics, such as brightness and sharpness."
        ]
    if m.get("trivial_auroc") is not None:
        sentences.append(
            f"The trivial statistic that separates the test images best is {m['trivial_statistic']}"
            f": alone it has an AUROC of {measure_text(m['trivial_auroc'])}."
        )
    return sentences


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
            table.append((name, measure_text(value) if isinstance(value, float) else str(value)))
    return table


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
    table = []
    for rate in RATES:
        limit = conformal.threshold(reference, rate)
        cells = [percent(rate)]
        if np.isfinite(limit):
            worst = conformal.worst_rate(len(reference), rate)
            cells += [score_text(limit), percent(rate), percent(worst)]
        else:
            cells += ["none", "0 %, nothing is flagged", "0 %"]
        for flags in () if tested is None else _flags(calibration, tested, rate):
            share = percent(float(np.mean(flags))) if flags else ""
            cells.append(f"{share} of {len(flags)}" if flags else "none there")
        table.append(tuple(cells))
    return table


def _localisation(found: Examination) -> str | None:
    if found.evaluation is None or "pixel_auroc" not in found.evaluation.metrics:
        return None
    picture, calibration = io.BytesIO(), found.calibration
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    write_run_figure(found.trained, found.shown, picture, count=4, pixel_threshold=pixel_threshold)
    return picture_uri(Image.open(picture).convert("RGB"))


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
        share = f"{percent(selection['diseased_share'])} (95 % {percent(low)} to {percent(high)})"
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
