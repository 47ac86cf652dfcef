import pytest

from a2bgan.rounding import measure_text, p_text, percent, score_text


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.005, "0.5"), (0.025, "2.5"), (0.05, "5"), (0.0513, "5.1"), (0.07, "7"), (0.0025, "0.25"),
     (0.0999, "10"), (0.128, "13"), (0.333, "33"), (1, "100"), (0, "0")],
)  # fmt: skip
def test_percents_are_said_as_people_do(share, said):
    assert percent(share) == f"{said}\N{NO-BREAK SPACE}%"


def test_scores_have_three_digits_and_measures_two_decimals():
    assert [score_text(x) for x in (0.12, 1, 12.34, 123.4, 1234.5)] == [
        "0.120", "1.00", "12.3", "123", "1234",
    ]  # fmt: skip
    assert measure_text(0.9069) == "0.91"
    assert p_text(0.025) == "0.025"
