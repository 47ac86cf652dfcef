"""What to say of a threshold that too few patients stand behind."""

import math

from a2bgan.detection import conformal


def say_too_few(patients: int, rate: float) -> str:
    """Why nothing can be flagged at a rate with so many calibration patients, at least 1, and what
    can be done; "" where they are enough."""
    needed = conformal.fewest_patients(rate)
    if patients >= needed:
        return ""
    are = "patient is" if patients == 1 else "patients are"
    # 1 / (n + 1) is the smallest p-value that there can be; rounded down it would not be reached.
    reachable = math.ceil(1000 / (patients + 1)) / 1000
    return (
        f"{patients} held-out healthy {are} too few for a rate of {rate:g}: nothing can be "
        f"flagged; {needed} are needed: train with more healthy patients, or predict with --fpr "
        f"{reachable:g} or more"
    )
