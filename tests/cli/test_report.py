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
