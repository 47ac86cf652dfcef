import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from a2bgan.models.smoothing import gaussian_smooth


def test_it_is_the_gaussian_filter_with_mirrored_borders():
    maps = torch.rand(2, 40, 33, dtype=torch.float64)
    for sigma in (1.0, 2.5, 4.0):
        expected = [gaussian_filter(m, sigma, mode="mirror", truncate=4.0) for m in maps.numpy()]
        np.testing.assert_allclose(gaussian_smooth(maps, sigma).numpy(), expected, rtol=1e-10)
