"""An MLflow model of a trained run: logged, served or loaded like any other.

a2bgan train --data DATA --out RUN
python examples/mlflow_model.py RUN MODEL      # a folder in MLflow's format
mlflow models serve --model-uri MODEL          # or mlflow.pyfunc.load_model("MODEL")
"""

import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np

from a2bgan import Detector


class AnomalyModel(mlflow.pyfunc.PythonModel):
    """Scores and p-values of images (N, H, W) or (N, C, H, W), as `Detector.score` takes them."""

    def load_context(self, context: Any) -> None:
        self.detector = Detector.load(Path(context.artifacts["run"]))

    def predict(self, context: Any, model_input: Any, params: Any = None) -> dict[str, list[float]]:
        images = np.asarray(model_input)
        return {
            "score": self.detector.score(images).tolist(),
            "p_value": self.detector.p_value(images).tolist(),
        }


def save(run: Path, model: Path) -> None:
    """Write a run folder, of `train` or `Detector.save`, as a model in MLflow's format."""
    mlflow.pyfunc.save_model(
        path=str(model),
        python_model=AnomalyModel(),
        artifacts={"run": str(run.resolve())},
        pip_requirements=["a2bgan"],
    )


if __name__ == "__main__":
    save(Path(sys.argv[1]), Path(sys.argv[2]))
