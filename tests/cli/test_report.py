def test_report_is_written_into_the_run(run, a2bgan):
    result = a2bgan("report", run)
    assert result.exit_code == 0, result.output
    assert (run / "report.html").stat().st_size > 50_000


def test_a_run_compared_with_itself_is_no_different(run, a2bgan, says, tiny_set):
    result = a2bgan("compare", run, run)
    assert result.exit_code == 0, result.output
    assert "difference +0.0000" in result.output
    assert "p = 1 " in result.output
    split = ("--split", "extra")
    assert "no labelled images" in says(a2bgan("compare", run, run, *split))
