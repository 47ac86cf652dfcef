import io
import re

import pytest
from rich.console import Console

from a2bgan.cli.console import with_options
from a2bgan.training.config import load_config
from a2bgan.training.loop import Report
from a2bgan.training.progress import outlook, show_progress


@pytest.mark.parametrize(
    ("length", "step", "fraction", "rate", "said"),
    [
        ("minutes=8", 20, 0.125, 0.51, "about 230 steps in 8 minutes"),
        ("minutes=2.5", 20, 0.4, 0.5, "fewer than 80 are too few"),
        ("steps=2000", 20, 0.01, 0.5, "about 66 more minutes, at 0.5 steps a second"),
    ],
)
def test_the_first_steps_say_how_far_a_training_comes(length, step, fraction, rate, said):
    settings = load_config("fast", None, [f"train.{length}"]).train
    found = outlook(settings, Report(step, fraction, rate, {}, None))
    assert said in re.sub(r"\[/?\w*\]", "", found)
    # 60 seconds gave 20 steps; the other 60 take two minutes, and a quarter is to spare.
    assert found.endswith("begin anew with train.minutes=4") == (length == "minutes=2.5")


def lines(*reports: Report, worded=str) -> list[str]:
    """What is printed where there is no terminal."""
    console = Console(file=io.StringIO(), width=200)
    with show_progress(load_config("fast"), console, bar=False, worded=worded) as watch:
        for report in reports:
            watch(report)
    return console.file.getvalue().splitlines()


def test_losses_have_plain_names_and_warnings_come_once():
    averages = {"d_adversarial": 0.5, "g_adversarial": 0.8, "g_identity": 0.01, "mask_mean": 0.03}
    warning = "the mask has closed (mean 0.0010): nothing is translated"
    again = "the mask has closed (mean 0.0009): nothing is translated"
    shown = lines(
        Report(10, 0.11, 0.5, averages, None),
        Report(12, 0.13, 0.5, {}, None),  # between two logged steps
        Report(20, 0.22, 0.5, averages, warning),
        Report(30, 0.23, 0.5, averages, again),
    )
    assert shown[0].startswith("about ") and shown[1].startswith("a good sign:")
    assert "step 10  0.5 steps/s  critic loss 0.50  translator loss 0.80" in shown[2]
    assert shown[2].endswith("mask open 3%")
    assert [line for line in shown if "closed" in line] == [f"warning: {warning}"]
    assert len(shown) == 5  # a line for each tenth


def test_what_is_said_has_the_words_of_its_reader():
    report = Report(10, 0.1, 0.001, {"loss": 0.5}, "try train.augment=x")
    shown = lines(report, worded=with_options)
    assert any("begin anew with --set train.minutes=" in line for line in shown)
    assert "warning: try --set train.augment=x" in shown
