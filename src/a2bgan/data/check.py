"""Check a data set before hours are spent on it: count, measure, and name what is wrong."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from a2bgan.data.cache.images import CachedImages, Failure, StoredForm, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_mask
from a2bgan.data.formats.slice_names import parse_slice, volume_of
from a2bgan.data.leaks import leaks_within
from a2bgan.data.manifest import SPLITS, Manifest, Row
from a2bgan.errors import name_some

# Rows marked "extra" are used for nothing, so they are counted and not read.
CHECKED_SPLITS = tuple(name for name in SPLITS if name != "extra")

# Fewer images than these deserve a word: GANs memorise small sets, and the AUROC of a handful of
# images says nothing (at 10 against 10, its standard error is about 0.1).
FEW_TRAINING_IMAGES = 100
FEW_TEST_IMAGES = 10


@dataclass(frozen=True)
class Intensity:
    """Values of the preprocessed images of one split, all pixels together, scaled to [0, 1]."""

    mean: float
    sd: float
    percentile_1: float
    percentile_99: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of the original images in pixels, before preprocessing.

    smallest, median, largest: (width, height), each side taken for itself.
    most_common: up to three sizes (width, height) with how many images have them.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    most_common: list[tuple[tuple[int, int], int]]


@dataclass
class DataCheck:
    """Findings of `check_data`.

    counts: rows of each split in the manifest.
    test_labels: test rows that are "normal", "abnormal" and "unlabelled".
    sizes: None when no image could be read.
    depths: how many images are, say, "8-bit grey" or "16-bit colour".
    intensity: for each split with a usable image.
    failures: for each split the files that cannot be used, with the reason.
    images: the preprocessed images of each split, (N, C, H, W) uint8 or uint16.
    errors: what makes results wrong or training impossible, one line each.
    warnings: what deserves a look, one line each.
    """

    counts: dict[str, int]
    test_labels: dict[str, int]
    sizes: Sizes | None
    depths: dict[str, int]
    intensity: dict[str, Intensity]
    failures: dict[str, list[Failure]]
    images: dict[str, np.ndarray]
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_data(
    manifest: Manifest,
    config: DataConfig,
    cache_dir: Path | None = None,
    watch: Callable[[int], object] = lambda read: None,
) -> DataCheck:
    """Read the healthy, mixed and test images through the cache and look for what is wrong.

    Errors: no healthy or no mixed images; healthy images labelled abnormal; the same file or
    patient in two sets; masks that cannot be read or differ in size from their image. Warnings:
    unusable files, DICOM files that are no slices of their series, the same file twice in a set,
    too few images, test sets that give no AUROC, images smaller than `config.size`, different
    formats in the healthy and the mixed set. Labels of mixed rows are not looked at.
    Raises InputError for the cache folder only.

    watch: called with the number of images read so far, of all in `CHECKED_SPLITS`.
    """
    rows = {split: manifest.split(split) for split in CHECKED_SPLITS}
    loaded: dict[str, CachedImages] = {}
    before = 0
    for split, members in rows.items():
        paths, names = [row.path for row in members], [row.name for row in members]
        loaded[split] = load_images(paths, names, config, cache_dir, partial(_add, watch, before))
        before += len(members)
        watch(before)
    originals = [original for images in loaded.values() for original in images.originals]
    check = DataCheck(
        counts=manifest.counts(),
        test_labels=_count_labels(rows["test"]),
        sizes=_summarise_sizes(originals),
        depths=dict(Counter(_depth_name(original) for original in originals).most_common()),
        intensity={
            split: _measure_intensity(images.images)
            for split, images in loaded.items()
            if len(images.images)
        },
        failures={split: images.failures for split, images in loaded.items()},
        images={split: images.images for split, images in loaded.items()},
    )
    _check_sets(check, rows)
    _check_failures(check)
    _check_series(check, rows)
    check.errors += leaks_within(manifest)
    _check_patients(check, rows)
    _check_duplicates(check, rows, loaded)
    _check_formats(check, loaded, config)
    _check_masks(check, rows["test"], loaded["test"], config)
    return check


def _add(watch: Callable[[int], object], before: int, read: int) -> None:
    watch(before + read)


def _count_labels(test: Sequence[Row]) -> dict[str, int]:
    labels = Counter(row.label for row in test)
    return {"normal": labels[0], "abnormal": labels[1], "unlabelled": labels[None]}


def _summarise_sizes(originals: Sequence[StoredForm]) -> Sizes | None:
    if not originals:
        return None
    sizes = np.array([(original.width, original.height) for original in originals])
    common = Counter((original.width, original.height) for original in originals).most_common(3)

    def pair(values: np.ndarray) -> tuple[int, int]:
        return int(values[0]), int(values[1])

    return Sizes(
        smallest=pair(sizes.min(axis=0)),
        median=pair(np.median(sizes, axis=0)),
        largest=pair(sizes.max(axis=0)),
        most_common=common,
    )


def _depth_name(original: StoredForm) -> str:
    kind = "float" if original.bits == 32 else f"{original.bits}-bit"
    return f"{kind} {'grey' if original.channels == 1 else 'colour'}"


def _measure_intensity(images: np.ndarray) -> Intensity:
    """Exact moments and percentiles from a histogram, so that few images are in memory at once."""
    levels = np.iinfo(images.dtype).max + 1
    histogram = np.zeros(levels, dtype=np.int64)
    for start in range(0, len(images), 256):
        histogram += np.bincount(images[start : start + 256].ravel(), minlength=levels)
    values = np.arange(levels) / (levels - 1)
    share = histogram / histogram.sum()
    mean = float(share @ values)
    cumulative = np.cumsum(histogram) / histogram.sum()
    low, high = (float(values[np.searchsorted(cumulative, q)]) for q in (0.01, 0.99))
    return Intensity(mean, float(np.sqrt(share @ (values - mean) ** 2)), low, high)


def _check_sets(check: DataCheck, rows: Mapping[str, Sequence[Row]]) -> None:
    for split in ("healthy", "mixed"):
        usable = len(check.images[split])
        if not usable:
            check.errors.append(f"no usable {split} images: training needs both sets")
        elif usable < FEW_TRAINING_IMAGES:
            check.warnings.append(
                f"only {usable} {split} images: with fewer than {FEW_TRAINING_IMAGES} the networks "
                "learn them by heart"
            )
    mislabelled = [row.name for row in rows["healthy"] if row.label == 1]
    if mislabelled:
        check.errors.append(
            f"{_images(len(mislabelled))} of the healthy set labelled 1 (abnormal): "
            f"{name_some(mislabelled, '; ')}; correct the label or the split"
        )
    labels = check.test_labels
    if not rows["test"]:
        check.warnings.append("no test images: detection cannot be measured")
        return
    if labels["unlabelled"]:
        check.warnings.append(
            f"{_images(labels['unlabelled'])} of the test set without a label: "
            "not counted in any measure"
        )
    for name in ("normal", "abnormal"):
        if not labels[name]:
            check.warnings.append(f"no {name} test images: AUROC is not defined")
        elif labels[name] < FEW_TEST_IMAGES:
            check.warnings.append(f"only {labels[name]} {name} test images: AUROC is a rough guess")


def _check_failures(check: DataCheck) -> None:
    for split, failures in check.failures.items():
        if failures:
            described = [f"{failure.name}: {failure.reason}" for failure in failures]
            check.warnings.append(
                f"{len(failures)} of {check.counts[split]} {split} images cannot be used and are "
                f"left out ({name_some(described, '; ')})"
            )


def _check_series(check: DataCheck, rows: Mapping[str, Sequence[Row]]) -> None:
    """Name the DICOM files in the folders of series that are not slices of them."""
    slices = (row for members in rows.values() for row in members if parse_slice(row.name))
    folders = {volume_of(row.name): volume_of(row.path) for row in slices}
    left_out: list[str] = []
    for name, folder in folders.items():
        if os.path.isdir(folder):
            from a2bgan.data.formats.dicom.series import left_out_of_series

            left_out += (f"{name}/{file}" for file in left_out_of_series(Path(folder)))
    if left_out:
        check.warnings.append(
            f"no slices of their series, and left out: {name_some(left_out, '; ')}"
        )


def _check_patients(check: DataCheck, rows: Mapping[str, Sequence[Row]]) -> None:
    patients = {split: {row.patient_id for row in members} for split, members in rows.items()}
    for split, members in rows.items():
        if len(members) > 1 and len(patients[split]) == 1:
            check.warnings.append(
                f"all {len(members)} {split} images are of one patient, perhaps because the "
                "identifiers were removed: write patient_id into a manifest"
            )


def _check_duplicates(
    check: DataCheck, rows: Mapping[str, Sequence[Row]], loaded: Mapping[str, CachedImages]
) -> None:
    for split, members in rows.items():
        names = defaultdict(list)
        for row, content in zip(members, loaded[split].content, strict=True):
            if content is not None:
                names[content].append(row.name)
        repeated = [" = ".join(same[:2]) for same in names.values() if len(same) > 1]
        if repeated:
            check.warnings.append(
                f"{_files(len(repeated))} more than once in {split} ({name_some(repeated, '; ')})"
            )


def _check_formats(
    check: DataCheck, loaded: Mapping[str, CachedImages], config: DataConfig
) -> None:
    originals = [original for images in loaded.values() for original in images.originals]
    small = sum(min(original.height, original.width) < config.size for original in originals)
    if 0 < small < len(originals):
        check.warnings.append(
            f"{_images(small)} smaller than {config.size} x {config.size}, to be enlarged, "
            "which blurs them beside the others"
        )
    usual = {
        split: Counter(map(_depth_name, loaded[split].originals)).most_common(1)[0][0]
        for split in ("healthy", "mixed")
        if loaded[split].originals
    }
    if len(set(usual.values())) > 1:
        check.warnings.append(
            f"healthy images are mostly {usual['healthy']} and mixed images mostly "
            f"{usual['mixed']}: the networks may learn the source in place of the disease"
        )


def _check_masks(
    check: DataCheck, test: Sequence[Row], loaded: CachedImages, config: DataConfig
) -> None:
    original_of = dict(zip(loaded.index.tolist(), loaded.originals, strict=True))
    wrong: list[str] = []
    for k, row in enumerate(test):
        if row.mask is None:
            continue
        original = original_of.get(k)
        try:
            read_mask(row.mask, config.max_pixels, None if original is None else original[:2])
        except ImageError as error:
            wrong.append(f"mask of {row.name}: {error}")
    if wrong:
        some = "1 mask" if len(wrong) == 1 else f"{len(wrong)} masks"
        check.errors.append(f"{some} cannot be used ({name_some(wrong, '; ')})")


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _files(count: int) -> str:
    return "1 identical file is" if count == 1 else f"{count} identical files are"
