"""Numbers as people round them, the same in pictures, report and reading room.

The page of the reading room has them once more, in ``static/rounding.js``.
"""


def score_text(score: float) -> str:
    """Three digits: 0.123, 12.3, 1234."""
    return f"{score:.0f}" if abs(score) >= 100 else f"{score:#.3g}"


def p_text(p: float) -> str:
    """Three decimals: 0.025."""
    return f"{p:.3f}"


def percent(share: float) -> str:
    """Whole percents from 10 on and two digits below: 33 %, 5 %, 2.5 %, 0.25 %."""
    hundredths = 100 * share
    rounded = f"{hundredths:.0f}" if hundredths >= 9.95 else f"{hundredths:.2g}"
    return f"{rounded}\N{NO-BREAK SPACE}%"


def measure_text(value: float) -> str:
    """A measure from 0 to 1, such as an AUROC, with two decimals."""
    return f"{value:.2f}"
