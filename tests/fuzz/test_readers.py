"""A small share of what benchmarks/fuzz.py does, the same every time."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"
EXAMPLES = 60

sys.path.append(str(BENCHMARK.parent))  # of what its scripts share
spec = importlib.util.spec_from_file_location("fuzz", BENCHMARK)
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # making a failure simpler takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_all_is_read_or_refused_in_one_line(name):
    tally = fuzz.Tally()
    before = fuzz.peak_memory()
    fuzz.fuzz(fuzz.TARGETS[name], 0, tally, EXAMPLES, settings.get_profile("ci"))
    assert tally.read + tally.refused >= EXAMPLES // 2
    assert fuzz.peak_memory() - before < fuzz.MEMORY
