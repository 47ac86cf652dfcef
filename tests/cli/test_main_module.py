import subprocess
import sys


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "a2bgan", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "train" in done.stdout and "predict" in done.stdout
