import numpy as np
import torch
from scipy.ndimage import gaussian_filter, grey_closing

from a2bgan.models.map_filters import close_gaps, gaussian_smooth


def test_it_is_the_grey_scale_closing():
    maps = torch.rand(2, 40, 33)
    for reach in (0, 1, 2, 5):
        size = 2 * reach + 1
        expected = np.stack([grey_closing(m, size=(size, size)) for m in maps.numpy()])
        # Away from the borders, beyond which scipy mirrors.
        inside = np.s_[:, 2 * reach : 40 - 2 * reach, 2 * reach : 33 - 2 * reach]
        np.testing.assert_array_equal(close_gaps(maps, reach).numpy()[inside], expected[inside])


def test_a_gap_is_filled_and_nothing_grows():
    square = torch.zeros(1, 20, 20)
    square[0, 0:9, 5:14] = 1  # at the border, too
    torch.testing.assert_close(close_gaps(square, 2), square)
    holed = square.clone()
    holed[0, 2:6, 7:11] = 0
    torch.testing.assert_close(close_gaps(holed, 2), square)
    torch.testing.assert_close(close_gaps(holed, 1), holed)


def test_it_is_the_gaussian_filter_with_mirrored_borders():
    maps = torch.rand(2, 40, 33, dtype=torch.float64)
    for sigma in (1.0, 2.5, 4.0):
        expected = [gaussian_filter(m, sigma, mode="mirror", truncate=4.0) for m in maps.numpy()]
        np.testing.assert_allclose(gaussian_smooth(maps, sigma).numpy(), expected, rtol=1e-10)
