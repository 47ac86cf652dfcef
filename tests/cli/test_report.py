import shutil

from PIL import Image

from a2bgan.data.open_data import open_data
from a2bgan.training.run_folder import RunFolder


def test_report_is_written_into_the_run(run, a2bgan):
    result = a2bgan("report", run)
    assert result.exit_code == 0, result.output
    assert (run / "report.html").stat().st_size > 50_000


def test_where_a_report_cannot_be_written_is_said_before_it_is_made(
    run, a2bgan, says, tmp_path, monkeypatch
):
    monkeypatch.setattr("a2bgan.report.html_report.write_report", None)
    line = says(a2bgan("report", run, "--out", tmp_path / "no" / "report.html"))
    assert f"(no folder {tmp_path / 'no'}); make it, or choose another --out" in line


def test_a_run_compared_with_itself_is_no_different(run, a2bgan, says, tiny_set):
    result = a2bgan("compare", run, run)
    assert result.exit_code == 0, result.output
    assert "difference +0.0000" in result.output
    assert "p = 1 " in result.output
    split = ("--split", "extra")
    assert "no labelled images" in says(a2bgan("compare", run, run, *split))


def test_a_report_of_a_run_whose_images_have_moved(
    run, phantoms, tiny_set, a2bgan, says, tmp_path, monkeypatch
):
    shown = []
    monkeypatch.setattr(
        "a2bgan.detection.examination.examine",
        lambda folder, manifest: shown.append((folder.manifest(), manifest)),
    )
    monkeypatch.setattr("a2bgan.report.html_report.write_report", lambda *_, **__: None)
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    old, new = (shutil.copytree(phantoms.parent, tmp_path / name) for name in ("old", "new"))
    copy.keep_manifest(open_data(old / phantoms.name))
    assert a2bgan("report", copy.path, "--data", tiny_set).exit_code == 0
    assert copy.image_root() == old  # nothing has moved
    shutil.rmtree(old)
    assert "give --data" in says(a2bgan("report", copy.path, "--data", tiny_set))
    result = a2bgan("report", copy.path, "--data", new / phantoms.name)
    assert result.exit_code == 0, result.output
    assert f"are now in {new}" in result.output.replace("\n", "")
    assert shown[-1][0] == shown[-1][1] == open_data(new / phantoms.name)


def test_a_run_on_arrays_has_no_report(run, phantoms, a2bgan, says, tmp_path):
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    copy.manifest_source_file.unlink()
    for options in ((), ("--data", phantoms)):
        line = says(a2bgan("report", copy.path, *options))
        assert "trained on arrays" in line and "a2bgan evaluate" in line


def test_figure_is_drawn_in_the_format_of_its_name(run, a2bgan, says, tmp_path):
    assert a2bgan("figure", run, "--out", tmp_path / "f.png", "--count", 2).exit_code == 0
    assert Image.open(tmp_path / "f.png").size[0] >= 1000
    assert a2bgan("figure", run, "--out", tmp_path / "f.pdf", "--split", "mixed").exit_code == 0
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert "no image that can be read" in says(
        a2bgan("figure", run, "--out", tmp_path / "g.png", "--split", "extra")
    )


def test_a_figure_that_cannot_be_written_is_one_line(run, a2bgan, says, tmp_path, monkeypatch):
    # It is looked at before anything is scored.
    monkeypatch.setattr("a2bgan.detection.trained_model.load_trained", None)
    away = tmp_path / "no" / "fig.png"
    line = says(a2bgan("figure", run, "--out", away))
    assert line.startswith(f"{away}: cannot be written (no folder {away.parent}); make it, or ")
    (tmp_path / "folder.png").mkdir()
    line = says(a2bgan("figure", run, "--out", tmp_path / "folder.png"))
    assert "(a folder); give --out a file in it" in line
    for name in ("fig.bmp", "fig"):
        line = says(a2bgan("figure", run, "--out", name))
        assert line == f"--out {name}: use .png, .pdf or .svg"
