"""`a2bgan translate`, `a2bgan fid` and `a2bgan benchmark --task translation`."""

import csv
import json
import os
import shutil

import pytest
from PIL import Image


def test_translate_writes_images_of_the_same_size(run, phantoms, tmp_path, a2bgan):
    (tmp_path / "bad.png").write_text("no image")
    first = sorted((phantoms.parent / "images").iterdir())[0]
    result = a2bgan("translate", run, first, tmp_path / "bad.png", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 images translated" in result.output and "1 image could not be" in result.output
    with (tmp_path / "out/translations.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    for column in ("translated", "mask", "difference"):
        with Image.open(tmp_path / "out" / good[column]) as image:
            assert image.size == (64, 64)
    assert "not a PNG" in bad["error"] and not bad["translated"]


def test_translate_takes_names_that_are_not_utf8(run, phantoms, tmp_path, a2bgan):
    first = sorted((phantoms.parent / "images").iterdir())[0]
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xe4.png")
    shutil.copy(first, odd)
    assert a2bgan("translate", run, odd, "--out", tmp_path / "out").exit_code == 0
    with (tmp_path / "out/translations.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["path"].endswith(r"\udce4.png")
    assert (tmp_path / "out" / row["translated"]).is_file()


def test_fid_of_folders_and_of_a_run(run, phantoms, tmp_path, a2bgan, says):
    twins = phantoms.parent / "twins"
    result = a2bgan("fid", twins, twins, "--out", tmp_path / "fid.json")
    assert result.exit_code == 0, result.output
    assert "12 images against 12; EfficientNet-Lite0" in result.output
    assert abs(json.loads((tmp_path / "fid.json").read_text())["fid"]) < 1e-3
    result = a2bgan("fid", run, twins)
    assert "6 images against 12" in result.output
    line = says(a2bgan("fid", twins, twins, "--fid-resize", "pytorch-fid"))
    assert "--fid-resize goes with --inception" in line
    line = says(a2bgan("fid", twins, twins, "--inception", tmp_path / "none.pth"))
    assert "none.pth: no such file; fetch weights-inception" in line


def test_a_benchmark_of_translators(tmp_path, a2bgan, says):
    data = tmp_path / "faces"
    counts = ("--healthy", 6, "--mixed-abnormal", 6, "--test-normal", 3, "--test-abnormal", 4)
    assert a2bgan("data", "faces", "--out", data, "--size", 32, *counts).exit_code == 0
    settings = ("train.steps=2", "data.size=32", "data.channels=3", "train.accelerator=cpu")
    settings += ("method.translator.width=4", "method.discriminator.width=4")
    options = [part for setting in settings for part in ("--set", setting)]
    common = ("benchmark", "--task", "translation", "--data", data, "--out", tmp_path / "bench")
    common = (*common, *options, "--methods", "stargan", "--seeds", 1)
    result = a2bgan(*common)
    assert result.exit_code == 0, result.output
    with (tmp_path / "bench/translation.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["# gen."], row["# disc."], row["steps"]) == ("1", "1", "2")
    for column in ("FID", "KID", "PSNR inside", "PSNR outside", "SSIM inside", "change of normal"):
        assert row[column], column
    text = (tmp_path / "bench/translation.md").read_text()
    assert "of 4 translated test images to 6 images of B" in text
    assert "EfficientNet-Lite0" in text and "LPIPS is left out" in text
    assert str(tmp_path) not in text
    assert " --out DIR" in text.splitlines()[0]
    with Image.open(tmp_path / "bench/translation.png") as picture:
        # Input, StarGAN and truth, of each of the 4 images to translate.
        assert 0.6 < picture.width / picture.height < 0.8
    # A file that was half written when the process was killed is measured anew.
    file = tmp_path / "bench/runs/stargan/0/translation.json"
    whole = json.loads(file.read_text())
    file.write_text(file.read_text()[:40])
    assert a2bgan(*common).exit_code == 0
    assert json.loads(file.read_text())["fid"] == pytest.approx(whole["fid"])
    # What is there is taken, but not of another pick.
    for picked, fid in ((whole["picked"], -1), (None, pytest.approx(whole["fid"]))):
        file.write_text(json.dumps(whole | {"fid": -1, "picked": picked}))
        assert a2bgan(*common).exit_code == 0
        assert json.loads(file.read_text())["fid"] == fid
