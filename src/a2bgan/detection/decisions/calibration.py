"""Thresholds from held-out healthy images, and whether they apply to other images."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.unit_range import to_intensities
from a2bgan.detection import RATE
from a2bgan.detection.audit.familiarity import Familiarity, drawn, learn_familiarity
from a2bgan.detection.measures import conformal
from a2bgan.detection.patient_scores import by_patient, of_patient
from a2bgan.detection.pick import Pick, same_scores
from a2bgan.errors import UNREADABLE, InputError
from a2bgan.files.atomic import write_atomically

if TYPE_CHECKING:
    from a2bgan.detection.image_sets import ImageSet
    from a2bgan.detection.trained_model import Trained
    from a2bgan.training.run_folder import RunFolder

ARRAYS = ("patient_scores", "image_scores", "means", "deviations")

DIGITS = 6
"""Kept digits of means and deviations; equal histograms differ in later ones by rounding."""

DRIFT_AT = 0.01
"""Kolmogorov-Smirnov p-value, times the number of tests, below which drift is reported."""

DRIFT_NEEDS = 20
"""Fewest patients to test for drift."""

OTHER_COUNT = 0.1
"""Share by which the median number of images of a patient may differ from calibration's."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of healthy patients that nothing was learned from, and thresholds from them.

    pick: the scores that it holds for; another score or checkpoint needs its own calibration.
    patient_scores: (P,) each patient's score by `pick.patients`, the highest by default.
    image_scores, means, deviations: (N,) each image's score, and mean and standard deviation of
        its preprocessed pixels in [0, 1].
    image_patients: (N,) the number of each image's patient.
    pixel_threshold: map values above it are in a region, see `contours`; None
        where the method makes no map, images are too few, or an older version calibrated.
    familiarity: describes images of training; None with too few, or from an older version.
    """

    pick: Pick
    patient_scores: NDArray[np.float64]
    image_scores: NDArray[np.float64]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    image_patients: NDArray[np.int64]
    pixel_threshold: float | None = None
    familiarity: Familiarity | None = None

    def write(self, run: "RunFolder") -> None:
        """Write ``calibration.json``, whole or as it was."""
        write_atomically(run.calibration_file, json.dumps(self.as_dict(), indent=2) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """The values that `from_dict` takes, for JSON."""
        return {
            "pick": asdict(self.pick),
            "pixel_threshold": self.pixel_threshold,
            "familiarity": None if self.familiarity is None else self.familiarity.as_dict(),
            **{name: getattr(self, name).tolist() for name in (*ARRAYS, "image_patients")},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """Reverse `as_dict`. Raises one of `UNREADABLE`."""
        arrays = {name: np.array(values[name], dtype=np.float64) for name in ARRAYS}
        # Older files do not name the patients.
        numbers = values.get("image_patients", range(len(arrays["image_scores"])))
        patients = np.array(numbers, dtype=np.int64)
        known = values.get("pixel_threshold")
        pixel_threshold = None if known is None else float(known)
        familiar = values.get("familiarity")
        count = len(arrays["image_scores"])
        whole = (
            all(value.ndim == 1 and np.isfinite(value).all() for value in arrays.values())
            and len(arrays["patient_scores"]) > 0
            and len(arrays["means"]) == len(arrays["deviations"]) == len(patients) == count
            and patients.ndim == 1
            # Numbers of patients count up from 0, and take as much memory as the highest.
            and 0 <= patients.min() <= patients.max() < count
            and (pixel_threshold is None or math.isfinite(pixel_threshold))
        )
        if not whole:
            raise ValueError("not a calibration")
        return cls(
            Pick.from_dict(values["pick"]),
            **arrays,
            image_patients=patients,
            pixel_threshold=pixel_threshold,
            familiarity=None if familiar is None else Familiarity.from_dict(familiar),
        )

    def applies_to(self, pick: Pick) -> bool:
        """True for scores of the same checkpoint, weights and kind."""
        return same_scores(self.pick, pick)

    def unfamiliar(self, images: NDArray[Any]) -> NDArray[np.bool_] | None:
        """True for each image of (N, C, H, W) unlike all of training; None if unknown."""
        return None if self.familiarity is None else self.familiarity.unfamiliar(images)

    def p_values(self, patients: Sequence[str], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """p-values (N,) of images by their patient's score, see `conformal.p_values`.

        An image whose patient is unknown ("") is a patient of its own.
        """
        return conformal.p_values(
            self.patient_scores, of_patient(patients, scores, self.pick.patients)
        )

    def case_p_values(
        self, people: Sequence[str], scores: Sequence[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """`p_values` (N,) of cases, each with the scores (n,) of its image or slices.

        people: whose the cases are.
        """
        counts = [len(some) for some in scores]
        behind = [who for who, n in zip(people, counts, strict=True) for _ in range(n)]
        first = np.cumsum([0, *counts[:-1]])
        every = self.p_values(behind, np.concatenate(scores).astype(np.float64))
        of_cases: NDArray[np.float64] = every[first]
        return of_cases


def read_calibration(run: "RunFolder") -> Calibration | None:
    """A run's calibration; None where there is none. Raises InputError if it is damaged."""
    try:
        return Calibration.from_dict(json.loads(run.calibration_file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE):
        raise InputError(
            f"{run.calibration_file}: not readable; `a2bgan calibrate` makes it anew"
        ) from None


def usable_calibration(run: "RunFolder", pick: Pick) -> Calibration | None:
    """A run's calibration if it holds for a pick, otherwise None. Raises InputError if damaged."""
    found = read_calibration(run)
    return found if found is not None and found.applies_to(pick) else None


def calibrate(
    trained: "Trained", healthy: "ImageSet", learned: "Sequence[ImageSet]" = ()
) -> Calibration:
    """Score held-out healthy images, and describe the ``learned`` ones of both sets.

    Raises InputError if none are held out, or some score is not finite.
    """
    if not len(healthy):
        raise InputError("no healthy images were held out for calibration")
    found, peaks = [], list[NDArray[Any]]()
    for batch in trained.detect_images(healthy.images):
        found.append((batch.scores, *intensities(to_intensities(batch.x))))
        if batch.anomaly_map is not None:
            peaks.append(batch.anomaly_map.max(axis=(1, 2)))
    scores, means, deviations = (
        np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True)
    )
    if not np.isfinite(scores).all():
        raise InputError(f"{(~np.isfinite(scores)).sum()} held-out images have no finite score")
    of_patients = by_patient(healthy.patients, scores, trained.pick.patients)
    return Calibration(
        trained.pick,
        np.sort(list(of_patients.values())),
        scores,
        means,
        deviations,
        image_patients=np.unique(healthy.patients, return_inverse=True)[1],
        pixel_threshold=pixel_threshold(np.concatenate(peaks).astype(float)) if peaks else None,
        familiarity=_familiarity(learned),
    )


def _familiarity(learned: "Sequence[ImageSet]") -> Familiarity | None:
    kept = [(part, drawn(len(part))) for part in learned if len(part)]
    if not kept:
        return None
    images = np.concatenate([part.images[rows] for part, rows in kept])
    return learn_familiarity(images, np.concatenate([part.patients[rows] for part, rows in kept]))


def pixel_threshold(peaks: NDArray[np.float64]) -> float | None:
    """The map value that a healthy image exceeds anywhere with a chance of `RATE` at most.

    It is the `conformal.threshold` of the highest values, for exchangeable images. Images of one
    patient resemble each other: then the rate stays about the same on average, but varies more from
    one calibration set to another.

    peaks: (N,) highest map value of each image, finite. None for fewer images than
    `conformal.fewest_patients`.
    """
    limit = conformal.threshold(peaks, RATE)
    return limit if math.isfinite(limit) else None


def intensities(images: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (N,) of each image's pixels (N, C, H, W) in [0, 1]."""
    flat = images.reshape(len(images), -1)
    mean, deviation = flat.mean(1, dtype=np.float64), flat.std(1, dtype=np.float64)
    return mean.round(DIGITS), deviation.round(DIGITS)


def drift(
    calibration: Calibration,
    patients: Sequence[str] | NDArray[Any],
    scores: NDArray[np.float64],
    means: NDArray[np.float64],
    deviations: NDArray[np.float64],
) -> list[str]:
    """Sentences on how images (N,) of some patients differ from those of calibration.

    Scores, brightness and contrast, averaged over a patient's images, are compared by two-sample
    Kolmogorov-Smirnov tests with Bonferroni's correction, for `DRIFT_NEEDS` patients or more. Much
    disease changes scores too; brightness and contrast tell of the scanner. The number of images a
    patient is always compared.
    """
    people, numbers = np.unique(np.asarray(patients), return_inverse=True)
    found = _other_count(calibration, numbers)
    if len(people) < DRIFT_NEEDS:
        return found
    from scipy.stats import ks_2samp  # takes a while

    tests = {
        "scores": (scores, calibration.image_scores, "more disease, or another scanner"),
        "brightness": (means, calibration.means, "another scanner, exposure or preparation"),
        "contrast": (deviations, calibration.deviations, "another scanner or preparation"),
    }
    for name, (new, old, meaning) in tests.items():
        new, old = _means(numbers, new), _means(calibration.image_patients, old)
        result = ks_2samp(new, old)
        p_value = min(1.0, float(result.pvalue) * len(tests))
        if p_value < DRIFT_AT:
            # Where cumulative curves are furthest apart, the one of higher values is lower.
            direction = "higher" if result.statistic_sign < 0 else "lower"
            found.append(
                f"{name} of these {len(new)} patients: mostly {direction} than of those of "
                f"calibration ({meaning}; Kolmogorov-Smirnov p = {p_value:.1g})"
            )
    return found


def _other_count(calibration: Calibration, numbers: NDArray[np.int64]) -> list[str]:
    """A sentence where patients, (N,), have other numbers of images than in calibration."""
    counts = np.bincount(calibration.image_patients)
    counts = counts[counts > 0]
    if not len(numbers) or len(counts) != len(calibration.patient_scores):
        return []  # older files do not name the patients
    new, old = float(np.median(np.bincount(numbers))), float(np.median(counts))
    if abs(new - old) <= OTHER_COUNT * old:
        return []
    return [
        f"these patients have {new:g} image{'s' * (new != 1)} each in the median, those of "
        f"calibration {old:g}, and the score of a patient depends on how many there are"
    ]


def _means(groups: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean value of each group, (G,), from numbers 0 to G - 1 and values (N,)."""
    means: NDArray[np.float64] = np.bincount(groups, values) / np.bincount(groups)
    return means
