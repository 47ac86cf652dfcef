"""A MONAI transform that adds the anomaly map and the p-value of an image to a dictionary.

reader = PILReader(reverse_indexing=False)          # rows first, as files hold them
transforms = Compose([
    LoadImaged("image", reader, dtype=np.uint8, ensure_channel_first=True),
    AddAnomalyMapd("image", run="RUN"),             # of `a2bgan train` or `Detector.save`
])
transforms({"image": "film.png"})                   # with "image_anomaly", "image_p_value"
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from a2bgan import Detector


class AddAnomalyMapd(MapTransform):
    """For each key adds KEY_anomaly, a map (1, H, W) of what does not look healthy, at the size
    of the image, and KEY_p_value, small where the image does not look healthy.

    Images are 2-D, (C, H, W), of unsigned integers (uint8 or uint16), as files hold them.
    """

    def __init__(self, keys: KeysCollection, run: str | Path, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.detector = Detector.load(Path(run))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = dict(data)
        for key in self.key_iterator(found):
            image = np.asarray(found[key])[np.newaxis]
            found[f"{key}_anomaly"] = torch.as_tensor(self.detector.anomaly_map(image))
            found[f"{key}_p_value"] = float(self.detector.p_value(image)[0])
        return found
