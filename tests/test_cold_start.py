"""What a process imports before it does anything, and so how long a user waits for it."""

import subprocess
import sys

import pytest

HEAVY = (
    "lightning_fabric", "matplotlib", "nibabel", "onnxruntime", "openvino", "pydicom",
    "scipy.stats", "skimage", "sklearn", "tensorboard", "timm", "torch_fidelity", "torchmetrics",
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
    code = f"import sys, {modules}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(ended.stdout.split()) & set(without)) == []
