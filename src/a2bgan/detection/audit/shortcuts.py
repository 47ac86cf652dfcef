"""Check for shortcuts: trivial statistics that tell the mixed set from the healthy one.

No label is read. With a share p of diseased in the mixed set, a statistic that separates healthy
from diseased with an AUROC of a has 1/2 + p (a - 1/2) here, so 0.6 may stand for 0.7 and more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from a2bgan.data.acquisition import acquisition_of, age_in_years
from a2bgan.data.config import DataConfig
from a2bgan.data.image_statistics import FILE_STATISTICS, PIXEL_STATISTICS
from a2bgan.data.manifest import TAGS, Manifest, Row
from a2bgan.detection.audit.trivial_statistics import measure_images
from a2bgan.detection.measures.delong import auroc_with_error

LIMIT = 0.6
"""A statistic is a shortcut when its AUROC, folded to 0.5 and more, is above this with all its
interval, and suspected when the AUROC is above this and its interval above 0.5."""

FEWEST_PATIENTS = 20
"""Fewest patients in each set; with fewer, some statistic separates them well by chance."""

MOST_VALUES = 4
"""Values of a property, such as scanners, that are looked at: the most frequent ones."""

Seen = Literal["acquisition", "file", "original", "preprocessed"]

_EXPOSURE = "try data.equalize=true; data.standardize=true, in its place, leaves more of it"
_SHARPNESS = "a smaller data.size leaves less of it, data.mask_corners=0.2 none of it in markers"
_FILES = (
    "the networks do not see it, but what comes with another size or format, such as sharpness, "
    "they do: take both sets from one source, or bring all files to one size and format before"
)
_ACQUISITION = (
    "whatever comes with it is learned as readily as disease: choose sets that are alike in it, "
    "such as with --where ViewPosition=PA or rows of a manifest"
)
_REMEDIES = {
    "mean brightness": _EXPOSURE,
    "contrast (sd)": _EXPOSURE,
    "sharpness": _SHARPNESS,
    "border brightness": "try data.mask_border=0.05, or data.equalize=true",
    "black share": "try data.equalize=true, or data.square=crop where borders were added",
    "white share": "try data.equalize=true, or data.mask_corners=0.2 if it is markers",
    "marks in corners": "try data.mask_corners=0.2",
    "sharpness of corners": "try data.mask_corners=0.2",
}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """AUROC by which one statistic alone tells mixed from healthy images.

    seen: a property of how the image was taken and of whom, of the file, of its pixels as they
        are, or of the preprocessed image, which is all that the networks see.
    auroc: above 0.5 where the statistic is higher in the mixed set. interval: DeLong's over
        patients, at 95 % for all statistics of an audit together (Bonferroni).
    """

    statistic: str
    seen: Seen
    auroc: float
    interval: tuple[float, float]

    @property
    def strength(self) -> float:
        """AUROC folded to [0.5, 1]."""
        return max(self.auroc, 1 - self.auroc)

    @property
    def level(self) -> Literal["shortcut", "suspected", ""]:
        """Verdict: "shortcut", "suspected" where the interval leaves doubt, or "" for neither."""
        low, high = self.interval
        lower_end = max(low, 1 - high)
        if lower_end > LIMIT:
            return "shortcut"
        return "suspected" if lower_end > 0.5 and self.strength > LIMIT else ""

    @property
    def shown(self) -> str:
        """AUROC and interval, folded, with the direction."""
        low, high = self.interval
        if self.auroc < 0.5:
            low, high = 1 - high, 1 - low
        if self.auroc == 0.5:
            return "0.500"
        direction = "higher" if self.auroc > 0.5 else "lower"
        return f"{self.strength:.3f} ({low:.2f}-{high:.2f}) {direction}"

    def warning(self) -> str:
        """One line on what was found and what may help."""
        direction = "higher" if self.auroc > 0.5 else "lower"
        of = {"original": " of the originals", "preprocessed": " after preprocessing"}
        what = f"{self.statistic}{of.get(self.seen, '')} is {direction}"
        if self.seen == "acquisition" and self.statistic != "age":
            what = f"{self.statistic} is {'more' if self.auroc > 0.5 else 'less'} frequent"
        help_ = _ACQUISITION if self.seen == "acquisition" else remedy(self.statistic)
        return (
            f"{'possible ' if self.level == 'suspected' else ''}shortcut: {what} in the mixed "
            f"set and alone tells it from the healthy one with AUROC {self.strength:.2f}; {help_}"
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """A Shortcut for each statistic, and how many images and patients of the healthy and of the
    mixed set were looked at."""

    shortcuts: list[Shortcut]
    images: tuple[int, int]
    patients: tuple[int, int]

    @property
    def enough(self) -> bool:
        """True where there are enough patients to name anything."""
        return min(self.patients) >= FEWEST_PATIENTS

    def worst(self) -> Shortcut:
        """The statistic of preprocessed images that separates the sets best, named or not."""
        return max(
            (s for s in self.shortcuts if s.seen == "preprocessed"), key=lambda s: s.strength
        )

    def warnings(self) -> list[str]:
        """One line for each shortcut that preprocessing leaves for the networks to learn."""
        if not self.enough:
            return []
        return [s.warning() for s in self.shortcuts if s.level and s.seen != "original"]

    def table(self) -> list[tuple[str, str, str]]:
        """For each statistic its name, and its AUROC in files as they are and preprocessed.

        Shortcuts are marked **, suspected ones *.
        """
        marks = {"shortcut": " **", "suspected": " *", "": ""}
        cells: dict[str, dict[str, str]] = {}
        for s in self.shortcuts:
            mark = marks[s.level] if self.enough else ""
            place = "preprocessed" if s.seen == "preprocessed" else "original"
            cells.setdefault(s.statistic, {})[place] = s.shown + mark
        return [(k, v["original"], v.get("preprocessed", "")) for k, v in cells.items()]


def remedy(statistic: str) -> str:
    """The end of a sentence on what may help against a statistic of pixels or files."""
    return _REMEDIES.get(statistic, _FILES)


def audit_shortcuts(
    manifest: Manifest, config: DataConfig, watch: Callable[[int], object] = lambda done: None
) -> Audit | None:
    """Compare trivial statistics of the healthy and the mixed set, without labels.

    The statistics are of acquisition, as far as it is known, of files, of their pixels and of the
    preprocessed images, for at most `trivial_statistics.LOOKED_AT` images of each set. Files that
    cannot be read are left out; None where that leaves none of a set.

    watch: called with the number of files measured so far, after each.
    """
    healthy = measure_images(manifest.split("healthy"), config, watch)
    mixed = measure_images(manifest.split("mixed"), config, lambda done: watch(len(healthy) + done))
    measured = [healthy, mixed]
    if not all(measured):
        return None
    items = [item for items in measured for item in items]
    counts = len(measured[0]), len(measured[1])
    is_mixed = np.repeat((0, 1), counts)
    patients = np.array([item.row.patient_id for item in items], dtype=np.str_)
    columns: list[tuple[str, Seen, np.ndarray]] = []
    blocks: tuple[tuple[Seen, tuple[str, ...], list[np.ndarray]], ...] = (
        ("preprocessed", PIXEL_STATISTICS, [item.preprocessed for item in items]),
        ("original", PIXEL_STATISTICS, [item.of_file.original for item in items]),
        ("file", FILE_STATISTICS, [item.of_file.file for item in items]),
    )
    for seen, names, rows in blocks:
        for name, values in zip(names, np.stack(rows).T, strict=True):
            columns.append((name, seen, values))
    formats = np.array([item.of_file.format for item in items])
    kinds = np.unique(formats)
    # With two formats, what the one says the other says too.
    for suffix in kinds if len(kinds) > 2 else kinds[1:]:
        columns.append((f"stored as {suffix}", "file", (formats == suffix).astype(np.float64)))
    columns += [
        (name, "acquisition", values)
        for name, values in _acquisition_columns([item.row for item in items], is_mixed)
    ]
    reach = float(norm.ppf(1 - 0.025 / len(columns)))
    shortcuts = []
    for name, seen, values in columns:
        known = np.isfinite(values)
        auroc, error = auroc_with_error(is_mixed[known], values[known], patients[known])
        # A standard error that is not known, with one patient in a set, excludes nothing.
        width = reach * error if np.isfinite(error) else 1.0
        interval = max(0.0, auroc - width), min(1.0, auroc + width)
        shortcuts.append(Shortcut(name, seen, auroc, interval))
    of_set = patients[is_mixed == 0], patients[is_mixed == 1]
    return Audit(shortcuts, counts, (len(np.unique(of_set[0])), len(np.unique(of_set[1]))))


def _acquisition_columns(
    rows: Sequence[Row], is_mixed: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and numbers (N,), NaN where unknown, of each property known in both sets: ages in years,
    and for other properties whether they have a certain value."""
    known = [acquisition_of(row) for row in rows]
    for name in TAGS:
        texts = [found.get(name, "") for found in known]
        if name == "age":
            ages = [age_in_years(text) for text in texts]
            numbers = np.array([np.nan if age is None else age for age in ages])
            if _in_both(np.isfinite(numbers), is_mixed) and np.nanmin(numbers) < np.nanmax(numbers):
                yield name, numbers
            continue
        of_row = np.array(texts, dtype=np.str_)
        there = of_row != ""
        if not _in_both(there, is_mixed):
            continue
        values, counts = np.unique(of_row[there], return_counts=True)
        frequent = values[np.argsort(-counts, kind="stable")][:MOST_VALUES].tolist()
        # With two values, what the one says the other says too.
        for value in frequent if len(values) > 2 else frequent[: len(values) - 1]:
            yield f"{name} {value}", np.where(there, of_row == value, np.nan)


def _in_both(chosen: np.ndarray, is_mixed: np.ndarray) -> bool:
    return bool(chosen[is_mixed == 0].any() and chosen[is_mixed == 1].any())
