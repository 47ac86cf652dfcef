"""Fixtures that several parts of the tests use."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A2BGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shared_data() -> Path:
    """The folder with real images beside the repository; skips where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is missing")
    return folder


@pytest.fixture
def make_texture() -> Callable[[int], np.ndarray]:
    """A function from a seed to a smooth random picture, (48, 40) uint8, at most 200."""

    def make(seed: int) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 200, (6, 5), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((40, 48), Image.Resampling.BILINEAR))

    return make


@pytest.fixture
def tiny_set(tmp_path: Path, make_texture: Callable[[int], np.ndarray]) -> Path:
    """A folder with manifest.csv and PNGs of 40 x 48: 12 healthy, 10 mixed, 6 + 6 test images.

    Half of the mixed and the abnormal test images have a bright square of 12 x 12; the masks of
    the abnormal test images show where.
    """
    folder = tmp_path / "tiny"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    lines = ["path,split,label,patient_id,mask"]
    kinds = (
        [("healthy", 0)] * 12 + [("mixed", 0), ("mixed", 1)] * 5 + [("test", 0), ("test", 1)] * 6
    )
    for number, (split, label) in enumerate(kinds):
        image = make_texture(number).copy()
        mask = ""
        if label:
            top, left = np.random.default_rng(number).integers(4, 24, 2)
            image[top : top + 12, left : left + 12] = 250
            if split == "test":
                mask = f"masks/{number:03d}.png"
                lesion = np.zeros_like(image)
                lesion[top : top + 12, left : left + 12] = 255
                Image.fromarray(lesion).save(folder / mask)
        Image.fromarray(image).save(folder / f"images/{number:03d}.png")
        lines.append(f"images/{number:03d}.png,{split},{label},patient{number},{mask}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
