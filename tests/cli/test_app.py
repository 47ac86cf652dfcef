import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "a2bgan.cli.app"]


def test_help_takes_less_than_a_second():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert all(name in text.stdout for name in ("train", "evaluate", "predict", "figure", "data"))
    assert min(seconds) < 1


def test_what_the_user_can_mend_is_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n")
    out = str(tmp_path / "run")
    for arguments, message in (
        (["train", "--data", str(tmp_path / "m.csv"), "--out", out], "missing column split"),
        (["train", "--data", str(tmp_path / "none"), "--out", out], "no such file or folder"),
        (["train", "--out", out], "--data is missing"),
        (["evaluate", out], "not a run"),
    ):
        result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
