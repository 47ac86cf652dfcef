"""Compute a frozen backbone's features of images once; then read them from memory-mapped arrays.

Below the cache folder, beside the images:
    features/<key>/features-<n>.npy   of the n-th stride, (N, channels, h, w) float16
    features/<key>/entry.json         a checksum of each

`key` is a digest of the pixels and of all that decides what their features are, so changed images
or weights never meet old features.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.data.cache.folder import (
    cache_errors_named,
    default_cache_dir,
    private_folder,
    require_space,
)
from a2bgan.data.cache.space import mark_used
from a2bgan.files.atomic import write_atomically
from a2bgan.files.building_folder import building_folder, move_into_place, remove_abandoned
from a2bgan.models.backbone import Backbone
from a2bgan.models.inference import has_native_bfloat16
from a2bgan.models.pretrained import weights_sha256

FORMAT_VERSION = 1
"""Raise it when `Backbone` gives other features for the same images and weights."""

PIXELS_AT_A_TIME = {"cpu": 2**18, "cuda": 2**23}
"""Pixels of the backbone's input in a batch; on CPUs few, which stay in their caches."""

CHUNK = 2**24
"""Bytes read at a time for digests and checksums."""

NOTES = "computed.txt"
NOTED_EVERY = 2**28
"""Bytes of features between two notes of how many images have theirs."""


def cached_features(
    images: np.ndarray, backbone: Backbone, *, device: torch.device, cache_dir: Path | None = None
) -> list[np.ndarray]:
    """A backbone's features of images, from the cache, computed and stored first where needed.

    images: (N, C, H, W) uint8 or uint16, usually a memory map; read a part at a time.
    device: where features are computed; the backbone is moved there.
    cache_dir: `default_cache_dir()` when None; created readable by its owner alone.

    Returns one read-only memory map (N, channels, h, w) float16 for each of the backbone's strides;
    values beyond float16's range are its ends. Computed in bfloat16 where the hardware has it.

    Where a process was killed, the next one goes on. Of several processes at once one does the work
    and the others wait for it. Raises InputError when the cache folder cannot be written or its
    disk is too full.
    """
    root = default_cache_dir() if cache_dir is None else Path(cache_dir)
    half = has_native_bfloat16(device.type)
    shapes = [(len(images), *shape) for shape in backbone.shapes]
    with cache_errors_named(root):
        entries = private_folder(private_folder(root) / "features")
        folder = entries / _entry_key(images, backbone, half)

        opened = partial(_open_entry, folder, shapes)
        stored = opened()
        if stored is not None:
            mark_used(folder)
            return stored
        remove_abandoned(entries)
        with building_folder(entries, folder.name, NOTES) as building:
            # Another process may have finished while this one waited for the folder.
            stored = opened()
            if stored is not None:
                return stored
            compute = partial(_features, backbone=backbone.to(device), device=device, half=half)
            batch_size = PIXELS_AT_A_TIME.get(device.type, 2**20) // backbone.input_size**2
            _build_entry(images, compute, max(1, batch_size), shapes, building)
            return move_into_place(building, folder, opened, opened)


def _entry_key(images: np.ndarray, backbone: Backbone, half: bool) -> str:
    header = {
        "version": FORMAT_VERSION,
        "shape": images.shape,
        "dtype": images.dtype.str,
        "backbone": backbone.name,
        "strides": backbone.strides,
        "maps": backbone.shapes,
        "input_size": backbone.input_size,
        "weights": weights_sha256(backbone),
        "precision": "bfloat16" if half else "float32",
    }
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    rows = max(1, CHUNK // max(1, math.prod(images.shape[1:]) * images.itemsize))
    for start in range(0, len(images), rows):
        digest.update(np.ascontiguousarray(images[start : start + rows]).data)
    return digest.hexdigest()


@torch.no_grad()
def _features(
    batch: np.ndarray, backbone: Backbone, device: torch.device, half: bool
) -> list[np.ndarray]:
    x = to_unit_range(batch).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        maps: list[Tensor] = backbone(x)
    top = torch.finfo(torch.float16).max
    return [features.clamp(-top, top).half().cpu().contiguous().numpy() for features in maps]


def _build_entry(
    images: np.ndarray,
    compute: Callable[[np.ndarray], list[np.ndarray]],
    batch_size: int,
    shapes: Sequence[tuple[int, ...]],
    building: Path,
) -> None:
    """Compute all that a killed process has not computed into a folder beside the entries."""
    done, noted = _noted(building), 0
    row_bytes = [2 * math.prod(shape[1:]) for shape in shapes]
    require_space(building, (len(images) - done) * sum(row_bytes), "features")
    with ExitStack() as stack:
        files: list[BinaryIO] = []
        for number, shape in enumerate(shapes):
            # Appended to, not mapped: a disk that fills up is an error then, not a signal.
            path = building / f"features-{number}.npy"
            file: BinaryIO = stack.enter_context(path.open("r+b" if done else "wb"))
            if not done:
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            else:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                file.seek(done * row_bytes[number], os.SEEK_CUR)
                file.truncate()
            files.append(file)
        for start in range(done, len(images), batch_size):
            batch = images[start : start + batch_size]
            for file, features in zip(files, compute(batch), strict=True):
                file.write(features.astype("<f2", copy=False).data)
            done = start + len(batch)
            noted += len(batch) * sum(row_bytes)
            if noted >= NOTED_EVERY:
                _flush(files)  # first, so that what is noted is there even if the machine stops
                write_atomically(building / NOTES, f"{done}\n")
                noted = 0
        _flush(files)
    checksums = [_checksum(path) for path in _arrays(building, len(shapes))]
    (building / "entry.json").write_text(json.dumps({"crc32": checksums}))
    (building / NOTES).unlink(missing_ok=True)


def _noted(building: Path) -> int:
    """Number of images that a killed process had noted as done."""
    try:
        return int((building / NOTES).read_text())
    except (OSError, ValueError):
        return 0


def _flush(files: Sequence[BinaryIO]) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())


def _arrays(folder: Path, count: int) -> list[Path]:
    return [folder / f"features-{number}.npy" for number in range(count)]


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _open_entry(folder: Path, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray] | None:
    """The stored features, or None when they are missing, partial or damaged."""
    paths = _arrays(folder, len(shapes))
    try:
        entry: dict[str, Any] = json.loads((folder / "entry.json").read_bytes())
        maps = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        intact = (
            [found.shape for found in maps] == list(shapes)
            and all(found.dtype == np.float16 for found in maps)
            and [_checksum(path) for path in paths] == entry["crc32"]
        )
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    return maps if intact else None
