"""What a process imports before it does anything, and so how long a user waits for it."""

import subprocess
import sys

import pytest

HEAVY = (
    "lightning_fabric", "matplotlib", "nibabel", "onnxruntime", "openvino", "pydicom",
    "scipy", "skimage", "sklearn", "tensorboard", "timm", "torch_fidelity", "torchmetrics",
    "torchvision",
)  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("a2bgan.cli.app", ("numpy", "torch", *HEAVY)),
        ("a2bgan.detection.exported_model, a2bgan.detection.predict", ("torch", *HEAVY)),
        ("a2bgan.detection.trained_model, a2bgan.detection.predict", HEAVY),
    ],
)
def test_what_is_not_needed_is_not_imported(modules: str, without: tuple[str, ...]) -> None:
    assert sorted(imported_by(f"import {modules}") & set(without)) == []


def test_a_prediction_of_the_default_needs_little_but_torch() -> None:
    """timm would bring torchvision, and that PyTorch's compiler."""
    code = (
        "import a2bgan.report.score_tables\n"
        "import torch; from a2bgan.models.backbone import Backbone\n"
        "from a2bgan.models.pretrained import DEFAULT_BACKBONE, load_pretrained\n"
        "backbone = Backbone(DEFAULT_BACKBONE, (8, 16, 32), 64)\n"
        "load_pretrained(backbone, None)\n"
        "backbone(torch.zeros(1, 1, 32, 32))\n"
        "from a2bgan.models.map_filters import gaussian_smooth\n"
        "gaussian_smooth(torch.zeros(1, 8, 8), 1.0)\n"
        "import numpy; from a2bgan.report.pictures import paint_map\n"
        "paint_map(numpy.zeros((1, 8, 8)), numpy.zeros((8, 8)))\n"
    )
    without = {*HEAVY, "huggingface_hub", "sympy", "torch._dynamo"}
    assert sorted(imported_by(code) & without) == []


def imported_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(ended.stdout.split())
