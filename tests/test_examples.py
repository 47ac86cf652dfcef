"""The examples, run as their users would."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from a2bgan import Detector
from tiny_detector import make, pictures

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# A network this small learns nothing in a few steps, which a Detector says.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny fitted Detector."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    detector = make(score_name=None, settings={"holdout.at_most": None})
    detector.fit(healthy=pictures(10, 0), mixed=pictures(8, 1)).save(folder)
    return folder


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_an_mlflow_model_scores_as_the_detector(saved: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    model = tmp_path / "model"
    subprocess.run([sys.executable, EXAMPLES / "mlflow_model.py", saved, model], check=True)
    images = pictures(3, 2)
    found = mlflow.pyfunc.load_model(str(model)).predict(images)
    detector = Detector.load(saved)
    np.testing.assert_allclose(found["score"], detector.score(images), rtol=1e-5)
    np.testing.assert_allclose(found["p_value"], detector.p_value(images))


def test_a_monai_transform_adds_map_and_p_value(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai")
    from monai.data import PILReader
    from monai.transforms import Compose, LoadImaged

    transform = example("monai_transform").AddAnomalyMapd("image", run=saved)
    (image,) = pictures(1, 3)
    Image.fromarray(image).save(tmp_path / "film.png")
    reader = PILReader(reverse_indexing=False)
    load = LoadImaged("image", reader, dtype=np.uint8, ensure_channel_first=True)
    found = Compose([load, transform])({"image": str(tmp_path / "film.png")})
    detector = Detector.load(saved)
    assert found["image_anomaly"].shape == (1, 40, 48)
    np.testing.assert_allclose(found["image_anomaly"], detector.anomaly_map(image[None]), rtol=1e-5)
    assert found["image_p_value"] == pytest.approx(detector.p_value(image[None])[0])
