"""Area of the patient that a pixel shows."""

import math
from pathlib import Path

from a2bgan.data.formats.kinds import is_dicom
from a2bgan.data.formats.slice_names import parse_slice


def pixel_area(path: Path) -> float | None:
    """Area in mm2 of a pixel of an image as `read_picture` returns it; None where it is unknown.

    Known are slices of volumes and DICOM images with a PixelSpacing. ImagerPixelSpacing is not
    taken: it is measured at the detector, where an X-ray shows everything larger than it is. Raises
    ImageError for a slice whose volume cannot be read.
    """
    if (part := parse_slice(path)) is not None:
        from a2bgan.data.formats.volumes import pixel_side, read_volume  # nibabel takes a while

        return pixel_side(read_volume(Path(part.volume)), part.axis) ** 2
    if not is_dicom(path):
        return None
    from a2bgan.data.formats.dicom.header import read_tags

    tags = read_tags(path, ["PixelSpacing"]) or {}
    try:
        between_rows, between_columns = map(float, tags.get("PixelSpacing", ()))
    except ValueError:  # none, or not two numbers
        return None
    area = between_rows * between_columns
    return area if between_rows > 0 and 0 < area < math.inf else None
