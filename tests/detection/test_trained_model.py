"""A run stands for the weights and the manifest that it was made with."""

import shutil
from pathlib import Path

import pytest
import torch

from a2bgan.detection.trained_model import device_named, load_trained, read_pick
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder


def test_other_weights_under_a_selected_name_are_refused(run: Path, tmp_path: Path) -> None:
    copy = RunFolder.open(shutil.copytree(run, tmp_path / "run"))
    pick = read_pick(copy)
    load_trained(copy)
    file = copy.checkpoints / pick.checkpoint / "translator.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"not the weights that were selected and calibrated"):
        load_trained(copy)
    load_trained(copy, pick.checkpoint)  # who names a checkpoint gets it


def test_a_manifest_whose_labels_were_swapped_is_refused(run: Path, tmp_path: Path) -> None:
    copy = RunFolder.open(shutil.copytree(run, tmp_path / "run"))
    copy.manifest()
    swapped = copy.manifest_file.read_text().replace(",test,1", ",test,x")
    swapped = swapped.replace(",test,0", ",test,1").replace(",test,x", ",test,0")
    copy.manifest_file.write_text(swapped)
    with pytest.raises(InputError, match=r"not the manifest that the run was trained on"):
        copy.manifest()


def test_scores_are_computed_where_the_user_says(run: Path) -> None:
    trained = load_trained(RunFolder.open(run), accelerator="cpu")
    assert trained.method.device.type == "cpu"
    assert device_named("cpu:0").type == "cpu"
    for name in ("mps" if torch.cuda.is_available() else "cuda", "cpuu", "meta"):
        with pytest.raises(InputError, match=f"accelerator '{name}': this machine has cpu"):
            load_trained(RunFolder.open(run), accelerator=name)


def test_auto_is_the_accelerator_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (torch.device("mps"), None):
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda check_available, d=there: d
        )
        assert device_named("auto") == (there or torch.device("cpu"))
        assert device_named("cpu") == torch.device("cpu")
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("xpu")
    )
    assert device_named("gpu") == torch.device("xpu")
    assert device_named("xpu:1") == torch.device("xpu:1")
