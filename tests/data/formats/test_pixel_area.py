"""The area of a pixel, where a file says it."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from a2bgan.data.formats.pixel_area import pixel_area
from a2bgan.data.formats.slice_names import SliceName

PIXELS = np.random.default_rng(0).integers(0, 4096, (48, 40), dtype=np.uint16)


@pytest.mark.parametrize(
    ("elements", "area"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, 0.125),
        ({}, None),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, None),  # at the detector
        ({"PixelSpacing": [0, 0.5]}, None),
        ({"PixelSpacing": []}, None),
    ],
)
def test_dicom_images_say_it_by_their_pixel_spacing(
    tmp_path: Path, write_dicom: Callable[..., Path], elements: dict[str, object], area: float
) -> None:
    assert pixel_area(write_dicom(tmp_path / "a.dcm", PIXELS, **elements)) == area


def test_slices_have_square_pixels_of_the_smaller_spacing(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 0.75, 3, 1])), tmp_path / "a.nii.gz")
    for axis, side in (("axial", 0.5), ("coronal", 0.5), ("sagittal", 0.75)):
        name = SliceName(str(tmp_path / "a.nii.gz"), axis, 4)
        assert pixel_area(Path(str(name))) == pytest.approx(side**2)


def test_other_images_do_not_say_it(tmp_path: Path) -> None:
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "a.png", dpi=(72, 72))
    assert pixel_area(tmp_path / "a.png") is None
