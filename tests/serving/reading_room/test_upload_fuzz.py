"""A small share of what benchmarks/upload_fuzz.py does."""

import importlib.util
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "upload_fuzz.py"


def test_damaged_files_are_refused_or_read_but_break_nothing(run, tmp_path):
    sys.path.append(str(BENCHMARK.parent))  # of what its scripts share
    spec = importlib.util.spec_from_file_location("upload_fuzz", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    result = benchmark.fuzz(run, tmp_path / "room", 200, seed=1)
    assert result.other() == 0
    assert result.statuses[422] > 50
    assert result.statuses[200] > 5
    assert result.slowest < benchmark.SECONDS
    assert result.server[1] - result.server[0] < 100
