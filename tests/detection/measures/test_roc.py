import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from a2bgan.detection.measures.roc import roc_band


def draw(n: int, images: int = 1):
    rng = np.random.default_rng(0)
    labels = np.repeat((0, 1), n)
    scores = labels * 1.2 + rng.normal(size=2 * n)
    return (np.repeat(v, images) for v in (labels, scores, np.arange(2 * n)))


def test_the_curve_is_the_empirical_one():
    labels, scores, patients = draw(60)
    band = roc_band(labels, scores, patients)
    rates, sensitivity, _ = roc_curve(labels, scores)
    for at, found in zip(band.false_positive_rate, band.sensitivity, strict=True):
        assert found == sensitivity[rates <= at + 1e-12].max()
    assert abs(np.trapezoid(band.sensitivity, dx=0.01) - roc_auc_score(labels, scores)) < 0.02


def test_the_band_holds_the_curve_and_narrows_with_patients():
    def width(n: int, images: int = 1) -> float:
        band = roc_band(*draw(n, images))
        assert (band.low <= band.sensitivity).mean() > 0.95
        assert (band.sensitivity <= band.high).mean() > 0.95
        assert (np.diff(band.sensitivity) >= 0).all()
        return float((band.high - band.low).mean())

    assert width(240) < 0.7 * width(60)
    assert abs(width(60, images=4) - width(60)) < 0.02  # copies tell nothing new


def test_one_class_has_no_curve():
    assert roc_band([0, 0], [1.0, 2.0], [1, 2]) is None
