"""The Python interface: an estimator in scikit-learn's manner."""

import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.slice_names import fragment_of, volume_of
from a2bgan.data.holdout import hold_out
from a2bgan.data.leaks import refuse_leaks
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.preprocessing import preprocess_mask, to_original_grid
from a2bgan.detection import RATE
from a2bgan.detection.data_frame import data_frame
from a2bgan.detection.decisions.calibration import usable_calibration
from a2bgan.detection.decisions.contours import place_mask
from a2bgan.detection.decisions.fitting import finish_run, patience_warning, train_run
from a2bgan.detection.evaluate import Evaluation, LabelledImages, evaluate, evaluate_images
from a2bgan.detection.given_images import Images, as_slices, list_images, load_images, settled_by
from a2bgan.detection.image_sets import ImageSet, RunImages
from a2bgan.detection.inputs import Input
from a2bgan.detection.measures.conformal import fewest_patients
from a2bgan.detection.measures.metrics import auroc
from a2bgan.detection.measures.stored_mask import StoredMask
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.predict import Prediction, predict
from a2bgan.detection.scores import check_score
from a2bgan.detection.trained_model import load_trained, read_details, write_selection
from a2bgan.errors import InputError, name_some
from a2bgan.report.score_tables import is_unfamiliar
from a2bgan.training.checkpoint import find_checkpoint, read_position, save_checkpoint
from a2bgan.training.config import Config, load_config
from a2bgan.training.loop import Report
from a2bgan.training.progress import in_a_notebook_or_terminal, show_progress
from a2bgan.training.run_folder import RunFolder
from a2bgan.training.run_lock import run_lock
from a2bgan.training.settings import by_dotted_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OWN_PARAMETERS = {
    "data.size": "size",
    "train.steps": "steps",
    "train.minutes": "minutes",
    "train.seed": "seed",
}
"""Settings that are parameters of the Detector, with their names there."""

_NOT_CALIBRATED = (
    "nothing was held out for calibration, or what a run was calibrated for is no longer selected"
)


class Detector(BaseEstimator):  # type: ignore[misc]
    """Learn from healthy and mixed images; then score new ones and show where they differ.

    A case is an image or a volume. Scores, p-values and maps come one for each case.

    Args:
        preset: settings to start from, such as "fast" or "paper".
        size: side in pixels that images are brought to; None keeps the preset's.
        steps: length of training in steps; None keeps the preset's.
        minutes: length of training by the clock, in place of ``steps``.
        seed: of everything random.
        score_name: one of the map's scores, see `a2bgan.detection.scores`, or of the method's own;
            None takes the selected one.
        settings: any others, by their dotted name: ``{"data.equalize": True}``.
        allow_leaks: train although the two sets have patients or images in common.

    Attributes:
        trained_: the trained method, its configuration and what was selected.
        details_: what else ``selection.json`` says, such as AUCp and the share of diseased.
        position_: steps and seconds of training after which the selected checkpoint was written.
        calibration_: scores of held-out healthy images, from which p-values come, and the threshold
            of regions; None where nothing was held out, or a loaded run was calibrated for another
            checkpoint or score.

    Parameters are checked in `fit`, which raises InputError (a ValueError) in one line.

    Of scikit-learn's contract: parameters, cloning, pickling, pipelines and cross-validation work,
    with images (N, H, W) as X and marks y, 0 healthy and 1 mixed. As in its outlier detectors
    `score_samples` and `decision_function` are higher for healthy images, and `predict` gives 1 and
    -1; `score` without y is the opposite, the anomaly score. X is never a table of features, so
    scikit-learn's checks that pass one do not apply.
    """

    def __init__(
        self,
        preset: str = "fast",
        *,
        size: int | None = None,
        steps: int | None = None,
        minutes: float | None = None,
        seed: int = 0,
        score_name: str | None = None,
        settings: dict[str, Any] | None = None,
        allow_leaks: bool = False,
    ) -> None:
        self.preset = preset
        self.size = size
        self.steps = steps
        self.minutes = minutes
        self.seed = seed
        self.score_name = score_name
        self.settings = settings
        self.allow_leaks = allow_leaks

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "outlier_detector"
        tags.target_tags.required = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def fit(
        self,
        healthy: Images,
        mixed: Images | Sequence[int],
        *,
        healthy_patients: Sequence[str] | None = None,
        mixed_patients: Sequence[str] | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        callbacks: Sequence[Callable[[Report], object]] = (),
        progress: bool | None = None,
    ) -> Self:
        """Train on healthy images (B) and images nobody has annotated (A).

        Part of both is held out, to select a checkpoint and a score and to calibrate p-values, of
        small sets to calibrate only (settings ``holdout``). Images of one patient stay together:
        by patients, one for each case, or else by the PatientID of DICOM files. Without either
        every case is a patient of its own.

        Args:
            healthy, mixed: the two sets; or all images, and a mark for each, 0 healthy, 1 mixed.
            healthy_patients, mixed_patients: whose the cases of each set are.
            out: run folder to keep, which `a2bgan predict` reads, and `evaluate` and `serve` with
                their ``--data``: it does not say where images are. Its ``samples`` show some.
            resume: go on with the stopped run in ``out``, with the same parameters and images.
            callbacks: each is called with a `Report` every ``train.log_every`` steps and, without
                ``averages``, every few seconds between them.
            progress: show a progress bar; None does so in a terminal and in a notebook.

        Warns (ConvergenceWarning) of all that `a2bgan train` warns of: losses that look wrong at
        the end, signs that too little was learned, parts that nothing is held out for.
        Raises InputError if a parameter or a set cannot be used, ``out`` is taken, or the sets have
        patients or images in common; a file that cannot be read is named. Raises KeyboardInterrupt
        when interrupted; a run in ``out`` can then be resumed.
        """
        with _in_parameters():
            config = self._config()
            if resume and out is None:
                raise InputError("resume needs out, the run to go on with")
            if out is not None and not resume:
                _refuse_run(Path(out), "resume=True goes on with it, or ")
                RunFolder.refuse_occupied(Path(out), overwrite=False)
            series = config.data.series == "volume"
            marks = _marks(mixed)
            if marks is not None:
                inputs = _by_mark(list_images(healthy, "images", series=series), marks)
            else:
                inputs = {
                    "healthy": list_images(healthy, "healthy", series=series),
                    "mixed": list_images(mixed, "mixed", series=series),
                }
            given = {"healthy": healthy_patients, "mixed": mixed_patients}
            inputs = {
                name: _with_patients(some, given[name], name) for name, some in inputs.items()
            }
            inputs = {name: as_slices(some, config.data, name) for name, some in inputs.items()}
            data = settled_by(config.data, [*inputs["healthy"], *inputs["mixed"]])
            config = config.model_copy(update={"data": data})
            pixels = {
                name: load_images(some, config.data, name)[0] for name, some in inputs.items()
            }
            if not self.allow_leaks:
                _refuse_leaks(pixels, inputs)
            images = _run_images(pixels, inputs, config)
            if progress is None:
                progress = in_a_notebook_or_terminal()
            # Sample grids show training images: they outlive the fit where they are asked for.
            with (
                tempfile.TemporaryDirectory(prefix="a2bgan-") if out is None else nullcontext(out)
            ) as folder:
                run = _open_run(Path(folder), config, _digest(pixels, inputs), resume)
                with run_lock(run.path, "train"):
                    self._fit_run(run, images, resume, callbacks, progress)
        return self

    def _fit_run(
        self,
        run: RunFolder,
        images: RunImages,
        resume: bool,
        callbacks: Sequence[Callable[[Report], object]],
        progress: bool,
    ) -> None:
        """Train, select and calibrate a run, and keep what it has learned."""
        config = run.config()
        warned = [patience_warning(config, images)]
        reported = [""]

        bars = show_progress(config, worded=_with_parameters) if progress else nullcontext()
        with bars as bar:

            def watch(report: Report) -> None:
                for callback in (*callbacks, *([] if bar is None else [bar])):
                    callback(report)
                if report.averages:
                    reported[0] = report.warning or ""

            outcome = train_run(run, images, resume=resume, watch=watch)
        if outcome.interrupted:
            raise KeyboardInterrupt
        fit = finish_run(run, images, outcome, self.score_name)
        picked = find_checkpoint(run.checkpoints, fit.trained.pick.checkpoint)
        self.position_ = read_position(picked)
        self.trained_, self.calibration_ = fit.trained, fit.calibration
        self.details_ = read_details(run)
        for sentence in filter(None, [*warned, *fit.warnings, *reported]):
            warnings.warn(_with_parameters(sentence), ConvergenceWarning, stacklevel=3)

    @overload
    def score(self, images: Images) -> np.ndarray: ...
    @overload
    def score(self, images: Images, labels: Sequence[int]) -> float: ...
    def score(self, images: Images, labels: Sequence[int] | None = None) -> np.ndarray | float:
        """Anomaly scores (N,), float64, higher is less healthy.

        With labels, 0 or 1 for each case, their AUROC instead, as scikit-learn's ``score(X, y)``.
        """
        scores = np.array([p.score for p in self._predictions(images)], dtype=np.float64)
        if labels is None:
            return scores
        found = auroc(_checked_labels(labels, len(scores)), scores)
        if found is None:
            raise InputError("labels: one class only, so there is no AUROC")
        return found

    def p_value(self, images: Images, patients: Sequence[str] | None = None) -> np.ndarray:
        """Conformal p-values (N,): of healthy patients at most a share a has ``p <= a``.

        Holds for patients like those of the healthy set, see `conformal`. With
        ``patients``, one for each case, or else the PatientID of DICOM files, a patient's p-value
        is that of the highest score. Raises InputError if there is no calibration.
        """
        self._require_calibration("p-values")
        found = list(self._predictions(images, patients))
        return self._p_values(found)

    def unfamiliar(self, images: Images) -> np.ndarray:
        """(N,) bool: True where a case is unlike all of training, so that its score means nothing.

        About 1 in 100 ordinary images is called so, see `familiarity`. Raises
        InputError if there is no calibration, or there were too few patients to tell.
        """
        found = [self._is_unfamiliar(p) for p in self._predictions(images)]
        if None in found:
            raise InputError("not known: no calibration, or too few patients were learned from")
        return np.array(found, dtype=bool)

    def translate(self, images: Images) -> np.ndarray:
        """Healthy twins (N, C, S, S), float32 in [0, 1], at the size of training.

        Of a volume, the twin of the slice with the highest score. Raises InputError if the method
        makes none.
        """
        twins = [p.twin for p in self._predictions(images) if p.twin is not None]
        if not twins:
            raise InputError(f"{self.trained_.config.facts.title} makes no healthy twins")
        return np.stack(twins)

    def anomaly_map(self, images: Images) -> np.ndarray | list[np.ndarray]:
        """Anomaly maps at the size of the images, float32, 0 or more: higher is less healthy.

        (N, H, W) where all have one size, otherwise a list of (H, W); of volumes (X, Y, Z) along
        RAS+ axes. Where there are twins: how far images and twins differ, in [0, 1]; with A2B-GAN's
        default settings without gaps, smoothed, and lower where the evidence speaks for health.
        Raises InputError if the method makes no maps.
        """
        self._require_maps()
        return _stacked([self._on_original(p)[0] for p in self._predictions(images)])

    def regions(self, images: Images) -> np.ndarray | list[np.ndarray]:
        """Masks, bool, of what does not look healthy, shaped as the maps of `anomaly_map`.

        At most one in twenty healthy images like those of the healthy set has any, see
        `contours`. Raises InputError if there is no calibration, it has too few
        healthy patients, or the method makes no maps.
        """
        self._require_maps()
        self._require_calibration("regions")
        assert self.calibration_ is not None
        if self.calibration_.pixel_threshold is None:
            count, needed = len(self.calibration_.patient_scores), fewest_patients(RATE)
            raise InputError(
                f"no regions: {count} healthy patients were held out, {needed} are needed"
                if count < needed
                else "no regions: calibrated by an older version; fit anew"
            )
        return _stacked([self._on_original(p)[1] for p in self._predictions(images)])

    def score_samples(self, images: Images) -> np.ndarray:
        """The opposite of `score` (N,), higher is healthier: scikit-learn's convention."""
        return -self.score(images)

    def decision_function(self, images: Images) -> np.ndarray:
        """(N,) below 0 where `predict` flags: the p-value minus the accepted rate of 5 %.

        A value of 0 is flagged too. Raises InputError if there is no calibration.
        """
        return self.p_value(images) - RATE

    def predict(self, images: Images) -> np.ndarray:
        """-1 where a case is flagged (p <= 0.05), 1 elsewhere, (N,) int64.

        Raises InputError if there is no calibration.
        """
        return np.where(self.p_value(images) <= RATE, -1, 1)

    def to_frame(self, images: Images, patients: Sequence[str] | None = None) -> "pd.DataFrame":
        """A pandas table with a row for each case.

        Columns: name, patient ("" if unknown, otherwise a pseudonym or as given), score, p_value,
        flagged (p <= 0.05), unfamiliar; the last three are missing values without a calibration.
        Needs pandas.
        """
        found = list(self._predictions(images, patients))
        frame = data_frame(
            {
                "name": [p.input.name for p in found],
                "patient": [p.input.patient_id for p in found],
                "score": [p.score for p in found],
            }
        )
        p_values = None if self.calibration_ is None else self._p_values(found)
        frame["p_value"] = p_values
        frame["flagged"] = None if p_values is None else p_values <= RATE
        frame["unfamiliar"] = [self._is_unfamiliar(p) for p in found]
        return frame

    def evaluate(
        self,
        images: Images,
        labels: Sequence[int] | None = None,
        *,
        masks: Sequence[np.ndarray | None] | None = None,
        patients: Sequence[str] | None = None,
        split: str = "test",
    ) -> Evaluation:
        """Compare scores, maps and the threshold with labels, as `a2bgan evaluate` does.

        Args:
            images: with labels, any images; without, a manifest or a folder with a labelled split.
            labels: 0 normal or 1 abnormal, one for each case.
            masks: of lesions, one for each image, of its size, nonzero is lesion; None: not known.
            patients: whose the cases are.
            split: of the manifest or folder.

        Returns the measures (``metrics``), the scores behind them (``to_frame()``) and, of a
        manifest or folder, what could not be read. Raises InputError.
        """
        check_is_fitted(self, "trained_")
        config = self.trained_.config.data
        if labels is not None:
            found = _labelled(images, labels, masks, patients, config)
            return evaluate_images(self.trained_, found, self.calibration_, {})
        if not isinstance(images, str | Path):
            raise InputError("evaluate: give labels, or a manifest or a folder with a test split")
        if masks is not None or patients is not None:
            raise InputError("evaluate: masks and patients go with labels; a manifest has its own")
        from a2bgan.data.open_data import open_data
        from a2bgan.data.volume_rows import expand_volumes

        manifest = expand_volumes(open_data(str(images)), config)
        return evaluate(self.trained_, manifest, split=split, calibration=self.calibration_)

    def plot_roc(self, evaluation: Evaluation) -> "Figure":
        """A matplotlib figure of the ROC curve of `evaluate`, with its 95 % band and the point at
        which p <= 0.05 is flagged."""
        from a2bgan.report.charts import roc_figure

        return roc_figure(evaluation, self.calibration_, RATE)

    def plot_cases(self, images: Images, count: int = 4) -> "Figure":
        """A matplotlib figure of the cases with the highest scores: image, twin, anomaly map."""
        from a2bgan.report.cases_figure import cases_figure

        found = sorted(self._predictions(images), key=lambda p: -(p.score or 0))
        return cases_figure(found[:count], self.trained_.map_scale)

    def _predictions(
        self,
        images: Images,
        patients: Sequence[str] | None = None,
    ) -> Iterator[Prediction]:
        """Score cases in order. Raises InputError for the first that cannot be used."""
        check_is_fitted(self, "trained_")
        series = self.trained_.config.data.series == "volume"
        inputs = _with_patients(list_images(images, "images", series=series), patients, "images")
        limit = None if self.calibration_ is None else self.calibration_.pixel_threshold
        for found in predict(self.trained_, inputs, limit):
            if found.score is None:
                raise InputError(f"images: {found.input.name}: {found.error}")
            yield found

    def _p_values(self, found: Sequence[Prediction]) -> np.ndarray:
        assert self.calibration_ is not None
        scores = [np.array([p.score]) if p.slices is None else p.slices[0] for p in found]
        return self.calibration_.case_p_values([p.input.person for p in found], scores)

    def _is_unfamiliar(self, p: Prediction) -> bool | None:
        assert p.image is not None
        return is_unfamiliar(self.calibration_, p.image)

    def _on_original(self, p: Prediction) -> tuple[np.ndarray, np.ndarray]:
        """Map and mask at the size of the original; the mask is empty without a threshold."""
        if p.volume_map is not None:
            nothing = np.zeros(p.volume_map.shape, dtype=bool)
            return p.volume_map, nothing if p.volume_mask is None else p.volume_mask
        assert p.anomaly_map is not None and p.shape is not None
        shape = p.shape

        def place(values: np.ndarray) -> np.ndarray:
            return to_original_grid(values, *shape, self.trained_.config.data)

        nothing = np.zeros(shape, dtype=bool)
        return place(p.anomaly_map), nothing if p.mask is None else place_mask(p.mask, place)

    def _require_maps(self) -> None:
        check_is_fitted(self, "trained_")
        if not self.trained_.makes_map:
            raise InputError(f"{self.trained_.config.facts.title} makes no maps")

    def _require_calibration(self, what: str) -> None:
        check_is_fitted(self, "trained_")
        if self.calibration_ is None:
            raise InputError(f"no {what}: {_NOT_CALIBRATED}")

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load`, `a2bgan evaluate` and `a2bgan predict` read.

        It holds configuration and weights, no images. Raises InputError if anything is there.
        """
        check_is_fitted(self, "trained_")
        _refuse_run(Path(folder))
        run = RunFolder.create(Path(folder), self.trained_.config)
        save_checkpoint(run.checkpoints, self.trained_.method, self.position_)
        write_selection(run, self.trained_.pick, **self.details_)
        if self.calibration_ is not None:
            self.calibration_.write(run)

    @classmethod
    def load(cls, folder: str | Path, accelerator: str = "auto") -> Self:
        """A fitted detector from `save`, or from a run of `a2bgan train`. Raises InputError.

        accelerator: device to score on, see `a2bgan.detection.trained_model.device_named`.

        A calibration for another checkpoint or score than the selected ones is left out, with a
        warning.
        """
        run = RunFolder.open(Path(folder))
        trained = load_trained(run, accelerator=accelerator)
        settings = by_dotted_name(trained.config.model_dump(mode="json"))
        own = {name: settings.pop(key) for key, name in OWN_PARAMETERS.items()}
        detector = cls(**own, score_name=trained.pick.score, settings=settings)
        detector.trained_ = trained
        detector.details_ = read_details(run)
        picked = find_checkpoint(run.checkpoints, trained.pick.checkpoint)
        detector.position_ = read_position(picked)
        detector.calibration_ = usable_calibration(run, trained.pick)
        if detector.calibration_ is None and run.calibration_file.exists():
            warnings.warn(
                f"{folder}: calibrated for another checkpoint or score, so there are no p-values; "
                "run `a2bgan calibrate` if `a2bgan train` made it, otherwise fit anew",
                stacklevel=2,
            )
        return detector

    def _config(self) -> Config:
        if self.steps is not None and self.minutes is not None:
            raise InputError("give either steps or minutes")
        if not isinstance(self.settings, Mapping | None):
            raise InputError('settings: expected a dictionary, such as {"data.equalize": True}')
        chosen = dict(self.settings or {})
        for key, name in OWN_PARAMETERS.items():
            if key in chosen:
                raise InputError(f"settings: {key!r} is the parameter {name}; give it there")
            if getattr(self, name) is not None:
                chosen[key] = getattr(self, name)
        settings = [f"{k}={_as_yaml(k, v)}" for k, v in chosen.items()]
        config = load_config(self.preset, None, settings)
        if self.score_name is not None:
            check_score(self.score_name, config.facts)
        return config


_OWN_SETTING = re.compile(
    rf"(?<![\w./\\'\"-])({'|'.join(map(re.escape, OWN_PARAMETERS))})(?![\w/]|\.\w)"
)
"""One of `OWN_PARAMETERS` in a message, not in a path or in quotes."""


_YAML = {"null": "None", "true": "True", "false": "False"}
_YAML_VALUE = re.compile(rf"(?<=[a-z]=)({'|'.join(_YAML)})\b")


def _with_parameters(message: str) -> str:
    """A message with the Detector's parameters in place of the settings that they stand for, and
    Python's values in place of YAML's."""
    message = _OWN_SETTING.sub(lambda found: OWN_PARAMETERS[found[1]], message)
    return _YAML_VALUE.sub(lambda found: _YAML[found[1]], message)


@contextmanager
def _in_parameters() -> Iterator[None]:
    """Have InputError speak of the Detector's parameters."""
    try:
        yield
    except InputError as error:
        error.args = (_with_parameters(str(error)),)
        raise


def _refuse_run(folder: Path, instead: str = "") -> None:
    """Raise InputError where a run is in the way."""
    if RunFolder(folder).config_file.exists():
        raise InputError(f"{folder}: a run is there; {instead}choose another folder")


def _marks(mixed: Any) -> np.ndarray | None:
    """Marks (N,), 0 or 1, in place of a mixed set; None where it is a set of images."""
    if isinstance(mixed, Sequence) and not isinstance(mixed, str):
        if not mixed or not all(isinstance(m, int | bool | np.integer | np.bool_) for m in mixed):
            return None
    elif getattr(mixed, "ndim", None) != 1 or np.asarray(mixed).dtype.kind not in "biu":
        return None
    return np.asarray(mixed)


def _by_mark(inputs: Sequence[Input], marks: np.ndarray) -> dict[str, list[Input]]:
    """Inputs by set. Raises InputError unless there is a mark of 0 or 1 for each."""
    marks = _checked_labels(marks, len(inputs), "mixed")
    found = {
        name: [item for item, mark in zip(inputs, marks, strict=True) if mark == value]
        for name, value in (("healthy", 0), ("mixed", 1))
    }
    for name, some in found.items():
        if not some:
            raise InputError(f"{name}: no image is marked so (0 healthy, 1 mixed)")
    return found


def _stored_mask(mask: Any, shape: tuple[int, int], config: DataConfig, name: str) -> StoredMask:
    """A mask of an image of this height and width. Raises InputError that starts with ``name``."""
    values = np.squeeze(np.asarray(mask)) if not isinstance(mask, str | Path) else np.empty(0)
    if values.shape != shape:
        raise InputError(f"{name}: expected an array of {shape}, as its image, got {values.shape}")
    return StoredMask.of(preprocess_mask(values, config))


def _labelled(
    given: Images,
    labels: Sequence[int],
    masks: Sequence[np.ndarray | None] | None,
    patients: Sequence[str] | None,
    config: DataConfig,
) -> LabelledImages:
    """Load images with their labels and masks, for `evaluate_images`."""
    inputs = list_images(given, "images", series=config.series == "volume")
    marks = _checked_labels(labels, len(inputs))
    inputs = _with_patients(inputs, patients, "images")
    marked = [
        (piece, int(mark))
        for item, mark in zip(inputs, marks, strict=True)
        for piece in as_slices([item], config, "images")
    ]
    pieces = [piece for piece, _ in marked]
    images, shapes = load_images(pieces, config, "images")
    rows = [
        Row(p.name, p.path, "test", mark, p.patient_id or volume_of(p.name), None, None)
        for p, mark in marked
    ]
    if masks is None:
        stored: list[StoredMask | None] = [None] * len(rows)
    elif len(masks) != len(rows):
        raise InputError(f"masks: expected {len(rows)}, one for each image, got {len(masks)}")
    else:
        stored = [
            None if mask is None else _stored_mask(mask, shape, config, f"masks: mask {k}")
            for k, (mask, shape) in enumerate(zip(masks, shapes, strict=True))
        ]
    of_patients = by_patient(
        [row.patient_id for row in rows], np.array([row.label for row in rows])
    )
    return LabelledImages(images, rows, stored, of_patients)


def _checked_labels(labels: Any, count: int, name: str = "labels") -> np.ndarray:
    """Labels as an array of int64. Raises InputError that starts with ``name``."""
    found = np.asarray(labels)
    if found.shape != (count,):
        raise InputError(f"{name}: expected {count}, one for each case, got {found.shape}")
    if not np.isin(found, (0, 1)).all():
        raise InputError(f"{name}: expected 0 and 1 only")
    return found.astype(np.int64)


def _with_patients(inputs: Sequence[Input], given: Sequence[str] | None, name: str) -> list[Input]:
    """The inputs with the given patients, one for each, or else those of their files."""
    if given is None:
        return list(inputs)
    if len(given) != len(inputs):
        raise InputError(f"{name}: {len(given)} patients for {len(inputs)} images")
    return [replace(item, patient_id=str(who)) for item, who in zip(inputs, given, strict=True)]


def _refuse_leaks(pixels: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[Input]]) -> None:
    """InputError where the healthy and the mixed set have patients or images in common."""
    named = {
        name: zip(pixels[name], (item.name for item in some), strict=True)
        for name, some in inputs.items()
    }
    first = {image.tobytes(): name for image, name in named["healthy"]}
    same = [
        f"healthy {first[key]} = mixed {name}"
        for image, name in named["mixed"]
        if (key := image.tobytes()) in first
    ]
    patients = {name: {item.patient_id for item in some} for name, some in inputs.items()}
    both = sorted(patients["healthy"] & patients["mixed"] - {""})
    kinds = (both, "patient has images", "patients have images"), (same, "image is", "images are")
    leaks = [
        f"{len(names)} {one if len(names) == 1 else many} both in healthy and in mixed "
        f"({name_some(names)})"
        for names, one, many in kinds
        if names
    ]
    refuse_leaks(leaks)


def _run_images(
    pixels: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[Input]], config: Config
) -> RunImages:
    """Hold images out by rows that stand for them, as files are held out by theirs."""
    rows = []
    for split, some in inputs.items():
        cases = {volume_of(item.path): k for k, item in reversed(list(enumerate(some)))}
        for k, item in enumerate(some):
            # The draw goes by the order of names.
            case = f"{split}/{cases[volume_of(item.path)]:08d}"
            name = case + fragment_of(item.path)
            place = Path(split, str(k))
            rows.append(Row(name, place, split, None, item.patient_id or case, None, None))
    manifest = Manifest(tuple(rows), Path())
    holdout = hold_out(manifest, config.holdout)

    def load(chosen: Sequence[Row]) -> ImageSet:
        split = chosen[0].split if chosen else "healthy"
        images = pixels[split][[int(row.path.name) for row in chosen]]
        patients = np.array([row.patient_id for row in chosen], dtype=np.str_)
        return ImageSet(images, patients, slices=any(fragment_of(row.name) for row in chosen))

    return RunImages(
        lambda split, part: holdout.rows(manifest, split, part), load, config.selection.images
    )


def _digest(pixels: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[Input]]) -> str:
    """Digest of the images, and of whose they are, by which images are held out."""
    digest = hashlib.sha256()
    for name, images in pixels.items():
        people = [(item.patient_id, fragment_of(item.path)) for item in inputs[name]]
        digest.update(json.dumps([name, images.shape, people]).encode())
        digest.update(images.tobytes())
    return digest.hexdigest()


def _open_run(folder: Path, config: Config, digest: str, resume: bool) -> RunFolder:
    """Make a run, or open the one to go on with. Raises InputError where that is of other settings,
    images or patients."""
    if not resume:
        return RunFolder.create(folder, config, fill=lambda run: run.note_images(digest))
    run = RunFolder.open(folder)
    if run.config() != config:
        raise InputError(f"{folder}: a run with other settings; resume it with the same ones")
    if run.noted_images() != digest:
        raise InputError(f"{folder}: a run that began with other images or patients")
    return run


def _stacked(arrays: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """(N, ...) where all have one shape, otherwise the list."""
    return np.stack(arrays) if len({a.shape for a in arrays}) == 1 else arrays


def _as_yaml(key: str, value: Any) -> str:
    """A value as a setting is written; NumPy's numbers are written as Python's."""
    try:
        return json.dumps(value, default=lambda number: number.item())  # JSON is YAML
    except (TypeError, ValueError, AttributeError):
        raise InputError(f"{key}: cannot be {value!r}") from None
