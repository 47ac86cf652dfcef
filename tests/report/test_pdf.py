import re

import numpy as np
import pytest
from PIL import Image

from a2bgan.errors import InputError
from a2bgan.report.pdf import DPI, pdf_of, require_pdf
from a2bgan.report.pictures import picture_uri


def test_pictures_have_no_more_pixels_than_paper_shows() -> None:
    try:
        require_pdf()
    except InputError as error:
        pytest.skip(str(error))
    ramp = Image.fromarray(np.tile(np.arange(1000, dtype=np.uint16) // 4, (1000, 1)).astype("u1"))
    page = f'<img style="width: 2in" src="{picture_uri(ramp)}">'
    (width,) = re.findall(rb"/Width (\d+)", pdf_of(page))
    assert int(width) == 2 * DPI
