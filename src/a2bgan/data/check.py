"""Look a data set over before hours are spent on it: what is in it and what is wrong with it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from a2bgan.data.cache import CachedImages, Failure, StoredForm, load_images
from a2bgan.data.leaks import leaks_within
from a2bgan.data.manifest import SPLITS, Manifest, Row
from a2bgan.data.preprocessing import DataConfig
from a2bgan.data.readers import ImageError, read_mask
from a2bgan.errors import InputError, name_some

# Rows marked "extra" are used for nothing, so they are counted and not read.
CHECKED_SPLITS = tuple(name for name in SPLITS if name != "extra")

# Fewer images than these deserve a word: GANs memorise small sets, and the AUROC of a handful of
# images says nothing (at 10 against 10, its standard error is about 0.1).
FEW_TRAINING_IMAGES = 100
FEW_TEST_IMAGES = 10

SAMPLES_PER_SPLIT = 12


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
    """What `check_data` found.

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
    progress: Callable[[str, int, int], None] | None = None,
) -> DataCheck:
    """Read the healthy, mixed and test images through the cache and look for what is wrong.

    progress: called with (split, steps done, steps in all) while files are read.

    Errors: no healthy or no mixed images; healthy images labelled abnormal; the same file or
    patient in two sets; masks that cannot be read or differ in size from their image. Warnings:
    unusable files, the same file twice in a set, too few images, test sets that give no AUROC,
    images smaller than `config.size`, different formats in the healthy and the mixed set. Labels of
    mixed rows are not looked at. Raises InputError for the cache folder only.
    """
    rows = {split: manifest.split(split) for split in CHECKED_SPLITS}
    loaded: dict[str, CachedImages] = {}
    for split, members in rows.items():
        report = None if progress is None else _for_split(progress, split)
        loaded[split] = load_images(
            [row.path for row in members],
            [row.name for row in members],
            config,
            cache_dir,
            report,
        )
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
    check.errors += leaks_within(manifest)
    _check_patients(check, rows)
    _check_duplicates(check, rows, loaded)
    _check_formats(check, loaded, config)
    _check_masks(check, rows["test"], loaded["test"], config)
    return check


def contact_sheet(images_by_split: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a PNG with a labelled row of up to 12 evenly spaced images for each split.

    images_by_split: (N, C, H, W) uint8 or uint16 each, C 1 or 3; empty splits are left out.
    Raises InputError when there is no image at all or the file cannot be written.
    """
    shown = {split: images for split, images in images_by_split.items() if len(images)}
    if not shown:
        raise InputError(f"{path}: no usable images to show; check the paths in the manifest")
    tile, gap, caption = 96, 4, 20
    columns = max(min(len(images), SAMPLES_PER_SPLIT) for images in shown.values())
    row_height = caption + tile + gap
    # Wide enough for the captions of a set of a single image.
    width = max(gap + columns * (tile + gap), 240)
    sheet = Image.new("RGB", (width, gap + len(shown) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for line, (split, images) in enumerate(shown.items()):
        top = gap + line * row_height
        count = min(len(images), SAMPLES_PER_SPLIT)
        said = _caption(split, count, len(images))
        draw.text((gap, top), said, "black", ImageFont.load_default(14))
        for column, k in enumerate(np.linspace(0, len(images) - 1, count).round().astype(int)):
            picture = _to_picture(images[k]).resize((tile, tile), Image.Resampling.BICUBIC)
            sheet.paste(picture, (gap + column * (tile + gap), top + caption))
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _caption(split: str, shown: int, there: int) -> str:
    if shown < there:
        return f"{split}: {shown} of {there:,} images"
    return f"{split}: {_images(there)}"


def _for_split(progress: Callable[[str, int, int], None], split: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(split, done, total)


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
    if small:
        check.warnings.append(
            f"{_images(small)} smaller than {config.size} x {config.size}, to be enlarged; "
            "a smaller data.size loses nothing"
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


def _to_picture(image: np.ndarray) -> Image.Image:
    levels = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else np.asarray(image)
    return Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _files(count: int) -> str:
    return "1 identical file is" if count == 1 else f"{count} identical files are"
