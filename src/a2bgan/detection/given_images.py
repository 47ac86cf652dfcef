"""Images however a caller has them, as a list of inputs."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.formats.picture import SMALLEST_SIDE, ImageError, Picture
from a2bgan.data.formats.pillow import array_of
from a2bgan.data.formats.slice_names import slices_of
from a2bgan.data.image_size import settle, with_size_of_shapes
from a2bgan.data.plain_window import LOOKED_AT, with_window_of_arrays
from a2bgan.detection.inputs import Input, find_inputs, load_input
from a2bgan.errors import InputError
from a2bgan.files.ordered_work import in_order

Array = np.ndarray | torch.Tensor
"""Pixels: (H, W), (H, W, C) or (C, H, W) with C 1 or 3. uint8, uint16, or floats in [0, 1]; with
``data.window`` "fixed" or "percentile" any whole or finite numbers, such as Hounsfield units."""


class Dataset(Protocol):
    """A map-style dataset, of PyTorch or MONAI: images, or tuples or dictionaries that hold one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


Images = Array | Image | str | Path | Iterable[Array | Image | str | Path] | Dataset
"""Images however a caller has them.

An array with one more axis in front for several images ((3, H, W) are three grey ones: put one
colour image of that layout into a list); one image; a folder, which is searched;
files, volumes (NIfTI) or manifests' images by path; a list or a pandas column of any of these; a
dataset, whose items are read when they are needed: an image, a tuple that begins with one, or a
dictionary with one under "image".
"""

_DATASETS = threading.Lock()
"""Held while an item of a dataset is read: datasets need not be made for threads."""


def list_images(images: Images, name: str, *, series: bool = False) -> list[Input]:
    """List the inputs, which are read later. Volumes are one input.

    series: take the DICOM files of a folder as one volume.

    Raises InputError that starts with ``name``.
    """
    found = _listed(images, name, series)
    if not found:
        raise InputError(f"{name}: no images were given")
    return found


def _listed(images: Images, name: str, series: bool) -> list[Input]:
    if isinstance(images, str | Path):
        return _files([images], name, series)
    if isinstance(images, Image):
        return [_input(0, lambda: images)]
    if isinstance(images, np.ndarray) and images.dtype.kind in "OUS":
        images = images.tolist()
    if isinstance(images, Array):
        shape = tuple(images.shape)
        one = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
        if not one and len(shape) not in (3, 4):
            raise InputError(
                f"{name}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, "
                f"got {shape}"
            )
        images = [images] if one else list(images)
    elif isinstance(images, Mapping) or not hasattr(images, "__len__"):
        if isinstance(images, Mapping) or not isinstance(images, Iterable):
            raise InputError(
                f"{name}: expected arrays, a folder, files or a dataset, "
                f"got {type(images).__name__}"
            )
        images = list(images)
    elif hasattr(images, "to_numpy"):  # a pandas column, whose items go by their labels
        images = list(images.to_numpy())
    if not isinstance(images, Sequence):
        count = len(images)  # type: ignore[arg-type]
        return [_input(k, partial(_item, images, k)) for k in range(count)]
    paths = [isinstance(image, str | Path) for image in images]
    if all(paths):
        return _files(images, name, series)
    for number, image in enumerate(images):
        if not isinstance(image, Array | Image | Mapping | tuple):
            raise InputError(f"{name}: image {number} is no array but {type(image).__name__}")
    return [_input(k, partial(_item, images, k)) for k in range(len(images))]


def as_slices(inputs: Sequence[Input], config: DataConfig, name: str) -> list[Input]:
    """The same with each volume as its slices, which are those of one patient.

    Raises InputError that starts with ``name`` for a volume that cannot be used.
    """
    found = []
    for item in inputs:
        if item.picture is not None or not is_volume(item.path):
            found.append(item)
            continue
        from a2bgan.data.formats.volumes import chosen_slices, read_volume  # nibabel takes a while

        axis = config.volume_axis
        try:
            places = chosen_slices(read_volume(item.path), axis, config.slices, config.skip_empty)
        except ImageError as error:
            raise InputError(f"{name}: {item.name}: {error}") from None
        if not places:
            raise InputError(
                f"{name}: {item.name}: no slice left by data.slices and data.skip_empty"
            )
        whose = item.patient_id or item.name
        names, paths = (slices_of(str(each), axis, places) for each in (item.name, item.path))
        found += [Input(n, Path(path), whose) for n, path in zip(names, paths, strict=True)]
    return found


def load_images(
    inputs: Sequence[Input], config: DataConfig, name: str
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Preprocess all inputs, (N, C, S, S) uint8 or uint16; also returns heights and widths before.

    Raises InputError that starts with ``name`` for the first that cannot be used.
    """

    def load(item: Input) -> tuple[np.ndarray, tuple[int, int]]:
        try:
            return load_input(item, config)
        except ImageError as error:
            raise InputError(f"{name}: {item.name}: {error}") from None

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        loaded = list(in_order(pool, load, inputs, ahead=2 * threads))
    return np.stack([image for image, _ in loaded]), [shape for _, shape in loaded]


def settled_by(config: DataConfig, inputs: Sequence[Input]) -> DataConfig:
    """The configuration with its ``size`` and ``plain_window`` settled by images of training."""
    chosen = np.unique(np.linspace(0, len(inputs) - 1, min(LOOKED_AT, len(inputs))).astype(int))
    types, shapes = list[np.dtype](), list[tuple[int, ...]]()
    for item in (inputs[k] for k in chosen.tolist()):
        if item.picture is not None:
            with suppress(ImageError):  # it is raised again where the images are read
                picture = item.picture(config)
                types.append(np.dtype(np.uint8) if picture.window else picture.values.dtype)
                shapes.append(picture.values.shape)
    if types:
        return with_window_of_arrays(with_size_of_shapes(config, shapes), types)
    return settle(config, [item.path for item in inputs if item.picture is None])


def _files(paths: Iterable[Any], name: str, series: bool) -> list[Input]:
    found = [Path(path) for path in paths]
    for path in found:
        if path.suffix.lower() == ".csv":
            # Its rows of all splits, test images too, would end in one set.
            raise InputError(f"{name}: {path}: a manifest; give a folder or image files")
    return find_inputs(found, series=series)


def _input(number: int, image: Callable[[], Any]) -> Input:
    return Input(f"image {number}", Path(f"image {number}"), "", partial(_picture, image))


def _item(images: Any, number: int) -> Any:
    """One image of a dataset."""
    with _DATASETS:
        item = images[number]
    if isinstance(item, Mapping):
        item = item.get("image")
    return item[0] if isinstance(item, tuple) else item


def _picture(image: Callable[[], Any], config: DataConfig) -> Picture:
    """An image in memory as a Picture. Raises ImageError."""
    values = image()
    if isinstance(values, str | Path):
        raise ImageError("a path among arrays; give paths alone, or arrays alone")
    if isinstance(values, Image):
        values = array_of(values)
    if not isinstance(values, Array):
        raise ImageError(f"no array but {type(values).__name__}")
    array = _channels_last(_as_numpy(values))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if min(array.shape[:2]) < SMALLEST_SIDE:
        raise ImageError(f"images must have {SMALLEST_SIDE} pixels or more a side: {array.shape}")
    if array.dtype in (np.uint8, np.uint16):
        return Picture(array)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ImageError(f"expected numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise ImageError("NaN or infinite values")
    if config.window in ("fixed", "percentile"):
        return Picture(array.astype(np.float32))
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"expected uint8, uint16 or floats in [0, 1], got {array.dtype}; for other units give "
            "data.window=fixed with data.window_low and data.window_high, or data.window=percentile"
        )
    if array.min() < 0 or array.max() > 1:
        raise ImageError(
            "floats must be in [0, 1]; for other units give data.window=fixed with "
            "data.window_low and data.window_high, or data.window=percentile"
        )
    # [0, 1] is already a window: the range of the type, not one found in each image.
    white = np.iinfo(np.uint16).max
    return Picture(np.rint(array.astype(np.float64) * white).astype(np.uint16), (0, white))


def _channels_last(array: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) from any layout of one image. Raises ImageError."""
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        raise ImageError(
            f"expected (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels, got {array.shape}"
        )
    return array


def _as_numpy(array: Array) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    tensor = array.detach().cpu()
    # NumPy has no bfloat16.
    converted: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return converted
