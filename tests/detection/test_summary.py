import pytest

from a2bgan.detection.summary import metric_warnings, separation, summary_sentence


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.4, 0.9), "does not separate them"),
        ((0.5, 0.9), "does not separate them"),
        (None, "does not separate them"),
        ((0.51, 0.9), "separates them weakly"),
        ((0.7, 0.9), "separates them"),
    ],
)
def test_the_word_follows_the_lower_end_of_the_interval(interval, said):
    assert separation(interval) == said


def test_measures_become_one_sentence():
    measures = {"auroc": 0.9, "auroc_ci": [0.6, 0.95]}
    assert (
        summary_sentence(measures) == "normal and abnormal images: the score separates them weakly"
    )
    measures |= {"sensitivity": 0.25, "specificity": 0.9, "counted_as": "patients"}
    assert summary_sentence(measures).endswith(
        "; the threshold flags 25\u00a0% of the abnormal and 10\u00a0% of the normal patients"
    )
    assert summary_sentence({"auroc": None}) is None


def test_a_trivial_statistic_that_does_as_well_is_a_warning():
    measures = {"auroc": 0.8, "trivial_auroc": 0.8, "trivial_statistic": "sharpness"}
    (warning,) = metric_warnings(measures)
    assert warning.startswith("sharpness alone separates them as well (AUROC 0.80)")
    assert metric_warnings(measures | {"trivial_auroc": 0.79}) == []
