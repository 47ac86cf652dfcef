import numpy as np
import torch

from a2bgan.models.blend import healthy_translation, masked_reconstruction


def test_equations_1_and_2_pixel_by_pixel():
    rng = np.random.default_rng(0)
    x, b = rng.uniform(-1, 1, (2, 2, 3, 4, 4))
    m = rng.uniform(0, 1, (2, 1, 4, 4))
    twin = healthy_translation(*map(torch.from_numpy, (x, b, m))).numpy()
    back = masked_reconstruction(*map(torch.from_numpy, (x, b, m))).numpy()
    for n, c, i, j in np.ndindex(x.shape):
        share = m[n, 0, i, j]
        assert np.isclose(twin[n, c, i, j], b[n, c, i, j] * share + x[n, c, i, j] * (1 - share))
        assert np.isclose(back[n, c, i, j], x[n, c, i, j] * share + b[n, c, i, j] * (1 - share))
