import matplotlib
import numpy as np

from a2bgan.report.inferno import INFERNO
from a2bgan.report.pictures import map_colours


def test_the_colours_are_those_of_matplotlib():
    theirs = matplotlib.colormaps["inferno"]
    assert np.array_equal(INFERNO, theirs(np.arange(256))[:, :3])
    for kind in (np.float32, np.float64):
        level = np.linspace(0, 1, 1001, dtype=kind)
        assert np.array_equal(map_colours(level), theirs(0.25 + 0.75 * level)[:, :3])
