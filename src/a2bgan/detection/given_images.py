"""Images however they are at hand, made ready for a method."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import SMALLEST_SIDE, ImageError
from a2bgan.data.image_size import settle, with_size_of_shapes
from a2bgan.data.plain_window import with_window_of_arrays
from a2bgan.data.preprocessing import load_image, preprocess
from a2bgan.detection.inputs import find_inputs
from a2bgan.errors import InputError

Array = np.ndarray | torch.Tensor
Images = Array | str | Path | Sequence[Array] | Sequence[str | Path]
"""Images however they are at hand.

Arrays: (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, or a sequence of such images without
the N, each of its own size; uint8, uint16, or floats in [0, 1], which are taken as 16-bit values.
Tensors: the same. Otherwise a folder, which is searched, or image files by their paths.
"""


def preprocessed(images: Images, config: DataConfig, name: str) -> tuple[np.ndarray, list[str]]:
    """(N, C, S, S) uint8 or uint16, and whose they are as far as files say, pseudonyms or "".

    Raises InputError that starts with ``name``.
    """
    patients: list[str] | None = None
    if isinstance(images, Array):
        loaded = _from_array(_as_numpy(images), config, name)
    elif isinstance(images, str | Path):
        loaded, patients = _from_files([images], config, name)
    elif not isinstance(images, Sequence):
        raise InputError(f"{name}: expected an array, a folder or files, got {_type(images)}")
    elif all(isinstance(image, str | Path) for image in images):
        loaded, patients = _from_files(images, config, name)  # type: ignore[arg-type]
    else:
        loaded = []
        for number, image in enumerate(images):
            if not isinstance(image, Array):
                raise InputError(f"{name}: image {number} is no array but {_type(image)}")
            loaded += _from_array(_as_numpy(image)[np.newaxis], config, f"{name}: image {number}")
    if not loaded:
        raise InputError(f"{name}: no images were given")
    return np.stack(loaded), [""] * len(loaded) if patients is None else patients


def settled_by(config: DataConfig, *sets: Images) -> DataConfig:
    """The configuration with its ``size`` and ``plain_window`` settled by images of training."""
    types: list[np.dtype] = []
    shapes: list[tuple[int, ...]] = []
    paths: list[Path] = []
    for images in sets:
        each = [images] if isinstance(images, Array | str | Path) else images
        if not isinstance(each, Sequence):
            continue
        for image in each:
            if isinstance(image, Array):
                types.append(_as_numpy(image).dtype)
                shape = image.shape[1:] if isinstance(images, Array) else image.shape
                shapes.append(_sides(shape))
            elif isinstance(image, str | Path):
                paths.append(Path(image))
    if types:
        return with_window_of_arrays(with_size_of_shapes(config, shapes), types)
    with suppress(InputError):  # it is raised again where the images are read
        found = [item.path for item in find_inputs(paths)]
        return settle(config, found)
    return config


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Height and width of an image whose channels come first, last or not at all."""
    first = len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)
    return tuple(shape[1:] if first else shape[:2])


def _from_files(
    paths: Sequence[str | Path], config: DataConfig, name: str
) -> tuple[list[np.ndarray], list[str]]:
    for path in map(Path, paths):
        if path.suffix.lower() == ".csv":
            # Its rows of all splits, test images too, would end in one set.
            raise InputError(f"{name}: {path}: a manifest; give a folder or image files")
    loaded = []
    found = find_inputs([Path(path) for path in paths])
    for item in found:
        try:
            loaded.append(load_image(item.path, config))
        except ImageError as error:
            raise InputError(f"{name}: {item.name}: {error}") from None
    return loaded, [item.patient_id for item in found]


def _from_array(array: np.ndarray, config: DataConfig, name: str) -> list[np.ndarray]:
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise InputError(
            f"{name}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, "
            f"got {array.shape}"
        )
    if not len(array):
        return []
    if min(array.shape[1:3]) < SMALLEST_SIDE:
        raise InputError(
            f"{name}: images must have {SMALLEST_SIDE} pixels or more a side, got {array.shape}"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{name}: floats must be in [0, 1], without NaN")
        # [0, 1] is already a window: the range of the type, not one found in each image.
        if config.window == "auto":
            config = config.model_copy(update={"window": "full"})
    elif array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: expected uint8, uint16 or floats, got {array.dtype}")
    loaded = []
    for number, image in enumerate(array):
        try:
            loaded.append(preprocess(_as_integers(image), config))
        except ImageError as error:
            which = f": image {number}" if len(array) > 1 else ""
            raise InputError(f"{name}{which}: {error}") from None
    return loaded


def _as_integers(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] to uint16; integers as they are."""
    if not np.issubdtype(image.dtype, np.floating):
        return image
    scaled: np.ndarray = np.rint(image.astype(np.float64) * np.iinfo(np.uint16).max)
    return scaled.astype(np.uint16)


def _as_numpy(array: Array) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    tensor = array.detach().cpu()
    # NumPy has no bfloat16.
    converted: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return converted


def _type(value: object) -> str:
    return type(value).__name__
