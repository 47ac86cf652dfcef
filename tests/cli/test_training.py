import shutil


def test_an_existing_run_is_kept_or_replaced(run, phantoms, a2bgan, says, small, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    again = ("train", "--data", phantoms, "--out", copy, *small)
    assert "--resume goes on with it, --overwrite replaces it" in says(a2bgan(*again))
    assert a2bgan(*again, "--overwrite").exit_code == 0


def test_a_finished_run_resumes_to_nothing(run, a2bgan, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    result = a2bgan("train", "--out", copy, "--resume")
    assert result.exit_code == 0
    assert "6 steps" in result.output


def test_resume_keeps_settings_and_data(run, tiny_set, a2bgan, says):
    resume = ("train", "--out", run, "--resume")
    assert "keeps the run's settings" in says(a2bgan(*resume, "--set", "data.size=64"))
    assert "not the manifest" in says(a2bgan(*resume, "--data", tiny_set))


def test_unknown_settings_and_presets(phantoms, a2bgan, says, tmp_path):
    train = ("train", "--data", phantoms, "--out", tmp_path / "run")
    assert "data.sise: unknown setting" in says(a2bgan(*train, "--set", "data.sise=3"))
    assert "unknown preset 'best'" in says(a2bgan(*train, "--preset", "best"))
    assert not (tmp_path / "run").exists()


def test_unreadable_images_are_named_counted_and_left_out(tiny_set, a2bgan, small, tmp_path):
    first = next((tiny_set).rglob("*.png"))
    rows = (tiny_set / "manifest.csv").read_text().splitlines()
    healthy = [row.split(",")[0] for row in rows if ",healthy," in row]
    (tiny_set / healthy[0]).write_bytes(b"")
    (tiny_set / healthy[1]).write_bytes(first.read_bytes()[:60])
    result = a2bgan("train", "--data", tiny_set, "--out", tmp_path / "run", *small)
    assert result.exit_code == 0
    assert f"{healthy[0]}: empty file" in result.output
    assert "2 images left out of the healthy set" in result.output
    assert f"{len(healthy) - 2} healthy" in result.output


def test_a_set_of_which_nothing_can_be_read(tiny_set, a2bgan, says, small, tmp_path):
    for row in (tiny_set / "manifest.csv").read_text().splitlines():
        if ",mixed," in row:
            (tiny_set / row.split(",")[0]).unlink()
    result = a2bgan("train", "--data", tiny_set, "--out", tmp_path / "run", *small)
    assert "mixed set: none of its 10 images can be read" in says(result)
