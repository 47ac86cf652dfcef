"""A run stands for the weights and the manifest that it was made with."""

import shutil
from pathlib import Path

import pytest

from a2bgan.detection.trained_model import load_trained, read_pick
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
