"""The Python interface: an estimator in scikit-learn's manner."""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from a2bgan.data.batches import to_intensities
from a2bgan.data.holdout import hold_out
from a2bgan.data.leaks import refuse_leaks
from a2bgan.data.manifest import Manifest, Row
from a2bgan.detection import RATE
from a2bgan.detection.decisions.calibration import usable_calibration
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.decisions.fitting import finish_run, patience_warning, train_run
from a2bgan.detection.given_images import Images, preprocessed, settled_by
from a2bgan.detection.image_sets import ImageSet, RunImages
from a2bgan.detection.measures.conformal import fewest_patients
from a2bgan.detection.scores import check_score
from a2bgan.detection.trained_model import WEIGHTS, load_trained, read_selection, write_selection
from a2bgan.errors import InputError, name_some
from a2bgan.training.checkpoint import find_checkpoint, read_position, save_checkpoint
from a2bgan.training.config import Config, load_config
from a2bgan.training.loop import Report
from a2bgan.training.run_folder import RunFolder

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
    """Learn from healthy and mixed images; then score, translate and show differences.

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

    def fit(
        self,
        healthy: Images,
        mixed: Images,
        *,
        healthy_patients: Sequence[str] | None = None,
        mixed_patients: Sequence[str] | None = None,
    ) -> Self:
        """Train on healthy images (B) and images nobody has annotated (A).

        Part of both is held out, to select a checkpoint and a score and to calibrate p-values, of
        small sets to calibrate only (settings ``holdout``). Images of one patient stay together:
        by patients, one for each image, or else by the PatientID of DICOM files. Without either
        every image is a patient of its own.

        Warns (ConvergenceWarning) of all that `a2bgan train` warns of: losses that look wrong at
        the end, signs that too little was learned, parts that nothing is held out for.
        Raises InputError if a parameter or a set cannot be used, or the sets have patients or
        images in common; a file that cannot be read is named.
        """
        config = self._config()
        data = settled_by(config.data, healthy, mixed)
        config = config.model_copy(update={"data": data})
        sets = {
            "healthy": preprocessed(healthy, config.data, "healthy"),
            "mixed": preprocessed(mixed, config.data, "mixed"),
        }
        pixels = {name: images for name, (images, _) in sets.items()}
        patients = {
            "healthy": _patients(healthy_patients, sets["healthy"][1], "healthy"),
            "mixed": _patients(mixed_patients, sets["mixed"][1], "mixed"),
        }
        if not self.allow_leaks:
            _refuse_leaks(pixels, patients)
        images = _run_images(pixels, patients, config)
        warned = [patience_warning(config, images)]
        reported = [""]

        def watch(report: Report) -> None:
            reported[0] = report.warning or ""

        # The run holds sample grids, which show training images: it does not outlive the fit.
        with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
            run = RunFolder.create(Path(folder), config)
            outcome = train_run(run, images, watch=watch)
            if outcome.interrupted:
                raise KeyboardInterrupt
            fit = finish_run(run, images, outcome, self.score_name)
            picked = find_checkpoint(run.checkpoints, fit.trained.pick.checkpoint)
            self.position_ = read_position(picked)
        self.trained_, self.calibration_ = fit.trained, fit.calibration
        self.details_ = {} if fit.decision is None else fit.decision.details
        for sentence in filter(None, [*warned, *fit.warnings, *reported]):
            warnings.warn(sentence, ConvergenceWarning, stacklevel=2)
        return self

    def score(self, images: Images) -> np.ndarray:
        """Anomaly scores (N,), float64, higher is less healthy.

        Not scikit-learn's ``score(X, y)``: there is no y to compare with.
        """
        pixels, _ = self._preprocessed(images)
        scores: np.ndarray = self.trained_.scores(pixels)
        return scores

    def p_value(self, images: Images, patients: Sequence[str] | None = None) -> np.ndarray:
        """Conformal p-values (N,): of healthy patients at most a share a has ``p <= a``.

        Holds for patients like those of the healthy set, see `conformal`. With
        ``patients``, one for each image, or else the PatientID of DICOM files, a patient's p-value
        is that of the highest score. Raises InputError if there is no calibration.
        """
        check_is_fitted(self, "trained_")
        if self.calibration_ is None:
            raise InputError(f"no p-values: {_NOT_CALIBRATED}")
        pixels, known = self._preprocessed(images)
        people = _patients(patients, known, "images")
        return self.calibration_.p_values(people, self.trained_.scores(pixels))

    def unfamiliar(self, images: Images) -> np.ndarray:
        """(N,) bool, whether images are unlike all of training, so that their scores mean nothing.

        About 1 in 100 ordinary images is called so, see `familiarity`. Raises
        InputError if there is no calibration, or there were too few patients to tell.
        """
        check_is_fitted(self, "trained_")
        pixels, _ = self._preprocessed(images)
        found = None if self.calibration_ is None else self.calibration_.unfamiliar(pixels)
        if found is None:
            raise InputError("not known: no calibration, or too few patients were learned from")
        return found

    def translate(self, images: Images) -> np.ndarray:
        """Healthy twins (N, C, S, S), float32 in [0, 1], at the size of training.

        Raises InputError if the method makes none.
        """
        pixels, _ = self._preprocessed(images)
        twins = [d.twin for d in self.trained_.detect_images(pixels) if d.twin is not None]
        if not twins:
            raise InputError(f"{self.trained_.config.facts.title} makes no healthy twins")
        return to_intensities(torch.cat(twins))

    def difference(self, images: Images) -> np.ndarray:
        """Anomaly maps (N, S, S), float32, at the size of training.

        Where there are twins: how far images and twins differ, in [0, 1]; with A2B-GAN's default
        settings without gaps, smoothed, and lower where the evidence speaks for health. Raises
        InputError if the method makes no maps.
        """
        pixels, _ = self._preprocessed(images)
        maps = [
            d.anomaly_map for d in self.trained_.detect_images(pixels) if d.anomaly_map is not None
        ]
        if not maps:
            raise InputError(f"{self.trained_.config.facts.title} makes no maps")
        return torch.cat(maps).numpy()

    def regions(self, images: Images) -> np.ndarray:
        """Masks (N, S, S), bool, of what does not look healthy, at the size of training.

        At most one in twenty healthy images like those of the healthy set has any, see
        `contours`. Raises InputError if there is no calibration, it has too few
        healthy patients, or the method makes no maps.
        """
        check_is_fitted(self, "trained_")
        if not self.trained_.makes_map:
            raise InputError(f"{self.trained_.config.facts.title} makes no maps")
        if self.calibration_ is None:
            raise InputError(f"no regions: {_NOT_CALIBRATED}")
        if (limit := self.calibration_.pixel_threshold) is None:
            count, needed = len(self.calibration_.patient_scores), fewest_patients(RATE)
            raise InputError(
                f"no regions: {count} healthy patients were held out, {needed} are needed"
                if count < needed
                else "no regions: calibrated by an older version; `a2bgan calibrate` makes it anew"
            )
        return np.stack([find_regions(each, limit) for each in self.difference(images)])

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load`, `a2bgan evaluate` and `a2bgan predict` read.

        It holds configuration and weights, no images. Raises InputError if anything is there.
        """
        check_is_fitted(self, "trained_")
        run = RunFolder.create(Path(folder), self.trained_.config)
        save_checkpoint(run.checkpoints, self.trained_.method, self.position_)
        write_selection(run, self.trained_.pick, **self.details_)
        if self.calibration_ is not None:
            self.calibration_.write(run)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A fitted detector from `save`, or from a run of `a2bgan train`. Raises InputError.

        A calibration for another checkpoint or score than the selected ones is left out, with a
        warning.
        """
        run = RunFolder.open(Path(folder))
        trained = load_trained(run)
        settings = _by_dotted_name(trained.config.model_dump(mode="json"))
        own = {name: settings.pop(key) for key, name in OWN_PARAMETERS.items()}
        detector = cls(**own, score_name=trained.pick.score, settings=settings)
        detector.trained_ = trained
        detector.details_ = {
            key: value
            for key, value in (read_selection(run) or {}).items()
            if key not in ("pick", WEIGHTS)
        }
        picked = find_checkpoint(run.checkpoints, trained.pick.checkpoint)
        detector.position_ = read_position(picked)
        detector.calibration_ = usable_calibration(run, trained.pick)
        if detector.calibration_ is None and run.calibration_file.exists():
            warnings.warn(
                f"{folder}: calibrated for another checkpoint or score, so there are no p-values; "
                "`a2bgan calibrate` makes it anew",
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
                raise InputError(f"settings: {key} is the parameter {name}; give it there")
            if getattr(self, name) is not None:
                chosen[key] = getattr(self, name)
        settings = [f"{k}={_as_yaml(k, v)}" for k, v in chosen.items()]
        config = load_config(self.preset, None, settings)
        if self.score_name is not None:
            check_score(self.score_name, config.facts)
        return config

    def _preprocessed(self, images: Images) -> tuple[np.ndarray, list[str]]:
        """See `preprocessed`, by the configuration of training."""
        check_is_fitted(self, "trained_")
        return preprocessed(images, self.trained_.config.data, "images")


def _patients(given: Sequence[str] | None, known: list[str], name: str) -> list[str]:
    """The given patients, one for each image, or else those of the files, "" if unknown."""
    if given is None:
        return known
    if len(given) != len(known):
        raise InputError(f"{name}: {len(given)} patients for {len(known)} images")
    return [str(patient) for patient in given]


def _refuse_leaks(pixels: Mapping[str, np.ndarray], patients: Mapping[str, Sequence[str]]) -> None:
    """InputError where the healthy and the mixed set have patients or images in common."""
    first = {image.tobytes(): number for number, image in enumerate(pixels["healthy"])}
    same = [
        f"healthy {first[key]} = mixed {number}"
        for number, image in enumerate(pixels["mixed"])
        if (key := image.tobytes()) in first
    ]
    both = sorted({*patients["healthy"]} & {*patients["mixed"]} - {""})
    kinds = (both, "patient has images", "patients have images"), (same, "image is", "images are")
    leaks = [
        f"{len(names)} {one if len(names) == 1 else many} both in healthy and in mixed "
        f"({name_some(names)})"
        for names, one, many in kinds
        if names
    ]
    refuse_leaks(leaks, "give allow_leaks=True")


def _run_images(
    pixels: Mapping[str, np.ndarray], patients: Mapping[str, Sequence[str]], config: Config
) -> RunImages:
    """Hold images out by rows that stand for them, as files are held out by theirs."""
    rows = [
        Row(name, Path(split, str(i)), split, None, who or name, None, None)
        for split, people in patients.items()
        for i, who in enumerate(people)
        for name in [f"{split}/{i:08d}"]  # the draw goes by the order of names
    ]
    manifest = Manifest(tuple(rows), Path())
    holdout = hold_out(manifest, config.holdout)

    def load(chosen: Sequence[Row]) -> ImageSet:
        split = chosen[0].split if chosen else "healthy"
        images = pixels[split][[int(row.path.name) for row in chosen]]
        return ImageSet(images, np.array([row.patient_id for row in chosen], dtype=np.str_))

    return RunImages(
        lambda split, part: holdout.rows(manifest, split, part), load, config.selection.images
    )


def _as_yaml(key: str, value: Any) -> str:
    """A value as a setting is written; NumPy's numbers are written as Python's."""
    try:
        return json.dumps(value, default=lambda number: number.item())  # JSON is YAML
    except (TypeError, ValueError, AttributeError):
        raise InputError(f"{key}: cannot be {value!r}") from None


def _by_dotted_name(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _by_dotted_name(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
