"""Simulated anomalies, the paper's check of localisation: squares replaced by their mean."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import image_suffix
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_image
from a2bgan.data.generate.generated_set import generator, new_set
from a2bgan.data.preprocessing import preprocess
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

SOURCE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

# The NIH chest X-ray collections call image 4 of patient 1280 "00001280_004.png".
_NIH_NAME = re.compile(r"(\d+)_\d+")


@dataclass(frozen=True)
class Simulated:
    """The manifest written, and (path below the source folder, reason) of each image skipped."""

    manifest: Path
    skipped: list[tuple[str, str]]


def simulate_squares(
    images: Path,
    out: Path,
    *,
    size: int = 64,
    square: int = 20,
    seed: int = 0,
    test_images: Path | None = None,
    patients: Mapping[str, str] | None = None,
    **counts: int,
) -> Simulated:
    """Make a data set with known anomalies from a folder of healthy images.

    The PNG, JPEG and TIFF files below `images`, in the order of their names, are put in a random
    order and each is used once: central square, size x size pixels, 8 bits, grey when all images
    used are grey and RGB otherwise. In an abnormal image a square of `square` x `square` pixels at
    a uniformly random place is replaced by its mean, per channel and rounded. Unreadable images
    and copies of others are skipped and reported; images beyond the number needed are not read.

    The new folder `out` gets images/ (names say nothing about the class), masks/ (of abnormal
    images, white in the square) and manifest.csv with the columns path, split, label, patient_id
    and mask. It appears when it is complete, and the same arguments give the same bytes.

    The split is by image, as in the paper: images of one patient may land in several splits. The
    patient is known for names like 00001280_004.png (patient 00001280) and for file names in
    `patients`; any other image counts as a patient of its own. With `test_images`, the test set is
    made of the images below that folder and the rest of those below `images`. counts: fields of
    `SetCounts`.

    Raises InputError when `images` is no folder or holds too few usable images, `out` holds
    something, the square does not fit, or a count is negative.
    """
    wanted = SetCounts(**counts)
    roles = [(split, label) for split, label, _ in wanted.roles()]
    rng = generator(seed)
    if size < 32 or size % 4:
        raise InputError(f"size {size}: use a multiple of 4, at least 32")
    if not 1 <= square < size:
        raise InputError(f"square {square} does not fit: use 1 to {size - 1} for size {size}")
    apart = 0 if test_images is None else wanted.test_normal + wanted.test_abnormal
    files = _shuffled_files(images, len(roles) - apart, rng)
    # Shuffled, so that neither names nor the order of rows tell the class.
    roles = [roles[i] for i in rng.permutation(len(roles))]

    skipped: list[tuple[str, str]] = []
    seen: dict[bytes, Path] = {}
    usable = usable_in_test = _usable_images(files, images, size, skipped, seen)
    if test_images is not None:
        test_files = _shuffled_files(test_images, apart, rng)
        usable_in_test = _usable_images(test_files, test_images, size, skipped, seen)
    columns = ("path", "split", "label", "patient_id", "mask")
    with new_set(out, ("images", "masks"), columns) as (folder, table):
        grey_paths = []
        for index, (split, label) in enumerate(roles):
            source, image = next(usable_in_test if split == "test" else usable, (None, None))
            if source is None or image is None:
                raise _too_few(images, len(roles), index, len(skipped))
            path, mask = f"images/{index:05d}.png", ""
            if label:
                image, lesion = _replace_square(image, square, generator(seed, index))
                mask = f"masks/{index:05d}.png"
                Image.fromarray(lesion.astype(np.uint8) * 255).save(folder / mask)
            Image.fromarray(image).save(folder / path)
            if image.ndim == 2:
                grey_paths.append(folder / path)
            patient = (patients or {}).get(source.name) or _patient_id(source, index)
            table.writerow((path, split, label, patient, mask))
        if len(grey_paths) < len(roles):
            for grey_path in grey_paths:
                with Image.open(grey_path) as grey:
                    colour = grey.convert("RGB")
                colour.save(grey_path)
    return Simulated(out / "manifest.csv", skipped)


def _shuffled_files(images: Path, needed: int, rng: np.random.Generator) -> list[Path]:
    if not images.is_dir():
        raise InputError(f"{images}: no such folder of images")
    files = [path for path in images.rglob("*") if image_suffix(path) in SOURCE_SUFFIXES]
    if len(files) < needed:
        raise _too_few(images, needed, len(files), 0)
    files.sort(key=lambda path: path.relative_to(images).as_posix())
    return [files[i] for i in rng.permutation(len(files))]


def _too_few(images: Path, needed: int, usable: int, unreadable: int) -> InputError:
    has = f"{usable} usable ({unreadable} skipped)" if unreadable else str(usable)
    return InputError(
        f"needs {needed} images, {images} has {has}: lower --healthy, --mixed-normal, "
        "--mixed-abnormal, --test-normal or --test-abnormal"
    )


def _usable_images(
    files: list[Path],
    images: Path,
    size: int,
    skipped: list[tuple[str, str]],
    seen: dict[bytes, Path],
) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Each readable file with its picture, (size, size) or (size, size, 3) where it has colour.

    seen: files by digests of their pictures, which comes to hold those that are given out.
    """
    for path in files:
        name = path.relative_to(images).as_posix()
        try:
            image = read_image(path, DataConfig().max_pixels)
            grey = image.ndim == 2 or bool((image == image[..., :1]).all())
            config = DataConfig(size=size, channels=1 if grey else 3)
            planes = preprocess(image[..., 0] if image.ndim == 3 and grey else image, config)
        except ImageError as error:
            skipped.append((name, str(error)))
            continue
        first = seen.setdefault(sha256(planes.tobytes()).digest(), path)
        if first != path:
            # In another set it would make the test too easy.
            skipped.append((name, f"same picture as {first.name}"))
            continue
        yield path, planes[0] if grey else np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _replace_square(
    image: NDArray[np.uint8], square: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image with one square replaced by its mean, and the square as a mask."""
    top, left = rng.integers(0, image.shape[0] - square + 1, 2)
    lesion = np.zeros(image.shape[:2], dtype=bool)
    lesion[top : top + square, left : left + square] = True
    replaced = image.copy()
    replaced[lesion] = np.rint(image[lesion].mean(axis=0)).astype(np.uint8)
    return replaced, lesion


def _patient_id(source: Path, index: int) -> str:
    match = _NIH_NAME.fullmatch(source.stem)
    return match.group(1) if match else f"S{index:05d}"
