"""One image of a batch as a prediction."""

from pathlib import Path

import numpy as np
import torch

from a2bgan.detection.detect import Detection
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import Prediction

ITEM = Input("b", Path("b.png"), "")


def test_an_image_of_a_batch_is_a_prediction_with_what_its_method_makes() -> None:
    x, twin = torch.full((2, 1, 4, 4), -1.0), torch.zeros(2, 1, 4, 4)
    x[1] = 1
    scores, maps = torch.tensor([0.25, 0.5]), torch.arange(32.0).reshape(2, 4, 4)
    found = Prediction.of(Detection(x, scores, twin, maps), 1, ITEM)
    assert (found.input, found.score, found.error) == (ITEM, 0.5, "")
    np.testing.assert_array_equal(found.image, np.ones((1, 4, 4)))
    np.testing.assert_array_equal(found.twin, np.full((1, 4, 4), 0.5))
    np.testing.assert_array_equal(found.anomaly_map, maps[1])
    bare = Prediction.of(Detection(x, scores, None, None), 0, ITEM)
    assert (bare.score, bare.twin, bare.anomaly_map) == (0.25, None, None)
    np.testing.assert_array_equal(bare.image, np.zeros((1, 4, 4)))
