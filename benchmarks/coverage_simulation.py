"""Whether intervals, tests, thresholds and shares hold what they promise, by simulation.

    python benchmarks/coverage_simulation.py

Draws scores from known distributions, so that the truth is known, and counts. Prints a table and
writes it to docs/results/coverage-simulation.md.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, norm

from a2bgan.detection.measures.bootstrap import bootstrap_auroc_interval
from a2bgan.detection.measures.conformal import p_values
from a2bgan.detection.measures.delong import compare_aurocs
from a2bgan.detection.measures.prevalence import estimate_diseased_share
from result_page import script_parser, write_page

REPEATS = 500


def main() -> None:
    script_parser(__doc__).parse_args()
    lines = [
        "# Do the statistics hold what they promise?",
        "",
        "How often do intervals, tests, thresholds and shares hold, where the truth is known?",
        "",
        "`python benchmarks/coverage_simulation.py`",
        "",
        f"Simulated scores of healthy + diseased (for shares: mixed) patients, {REPEATS} repeats;"
        " in brackets the 95 % interval of the count.",
        "",
        "| what | setting | promised | counted |",
        "| --- | --- | --- | --- |",
    ]
    for study in (intervals(), tests(), false_alarms(), shares(), unequal_shares()):
        for what, setting, promised, hits, repeats in study:
            low, high = binomtest(hits, repeats).proportion_ci()
            counted = f"{hits / repeats:.3f} ({low:.3f}-{high:.3f})"
            lines.append(f"| {what} | {setting} | {promised} | {counted} |")
            print(lines[-1], flush=True)
    write_page(Path("docs/results/coverage-simulation.md"), lines)


Row = tuple[str, str, str, int, int]


def intervals() -> Iterator[Row]:
    """How often the bootstrap interval of an AUROC holds the true one."""
    for auroc in (0.7, 0.85, 0.95):
        for patients, images in ((100, 1), (300, 1), (100, 3)):
            rng = np.random.default_rng(0)
            hits = 0
            for repeat in range(REPEATS):
                labels, scores, who = draw(rng, auroc, patients, images)
                low, high = bootstrap_auroc_interval(labels, scores, who, seed=repeat)
                hits += low <= auroc <= high
            setting = f"AUROC {auroc}, {patients} + {patients}{several(images)}"
            yield "interval contains the AUROC", setting, "0.95", hits, REPEATS


def draw(
    rng: np.random.Generator, auroc: float, patients: int, images: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, binormal scores and patients; images of a patient correlate by one half."""
    labels = np.repeat((0, 1), patients * images)
    who = np.repeat(np.arange(2 * patients), images)
    noise = np.sqrt(0.5) * (rng.normal(size=2 * patients)[who] + rng.normal(size=len(who)))
    return labels, labels * np.sqrt(2) * norm.ppf(auroc) + noise, who


def several(images: int) -> str:
    return "" if images == 1 else f", {images} images each"


def tests() -> Iterator[Row]:
    """How often DeLong's test calls two equally good scores different."""
    for images in (1, 3):
        rng = np.random.default_rng(1)
        hits = 0
        for _ in range(REPEATS):
            labels, scores, who = draw(rng, 0.85, 100, images)
            first, second = (scores + rng.normal(size=len(scores)) for _ in range(2))
            hits += compare_aurocs(labels, first, second, who).p_value < 0.05
        setting = f"100 + 100{several(images)}"
        yield "DeLong's test rejects equal AUROCs", setting, "0.05", hits, REPEATS


def false_alarms() -> Iterator[Row]:
    """How often a new healthy patient is flagged: one for each repeat, so that they are
    independent."""
    for patients in (25, 50, 400):
        for rate in (0.05, 0.1):
            rng = np.random.default_rng(2)
            hits = 0
            for _ in range(20 * REPEATS):
                scores = rng.exponential(size=patients + 1)
                hits += p_values(scores[1:], scores[:1])[0] <= rate
            setting = f"{patients} to calibrate"
            yield "healthy patients flagged", setting, f"<= {rate}", int(hits), 20 * REPEATS


def shares() -> Iterator[Row]:
    """How often the interval of the share of diseased holds it, disease apart or near."""
    for healthy, mixed in ((400, 300), (60, 60)):
        for separation, spread in ((3.3, 1.3), (2.0, 1.0)):
            auroc = norm.cdf(separation / np.hypot(1, spread))
            for share in (0.0, 0.1, 0.3, 0.5):
                rng = np.random.default_rng(3)
                hits, off = 0, 0.0
                for _ in range(REPEATS):
                    diseased = rng.binomial(mixed, share)
                    scores = np.r_[
                        rng.normal(size=mixed - diseased), rng.normal(separation, spread, diseased)
                    ]
                    found = estimate_diseased_share(rng.normal(size=healthy), scores)
                    hits += found.interval[0] <= diseased / mixed <= found.interval[1]
                    off += (found.share - diseased / mixed) / REPEATS
                setting = (
                    f"share {share}, AUROC {auroc:.2f}, {healthy} + {mixed}; off by {off:+.3f}"
                )
                yield "interval contains the share of diseased", setting, "0.95", hits, REPEATS


def unequal_shares() -> Iterator[Row]:
    """The same where patients have 1 to 8 images, which correlate by one half."""
    for share in (0.0, 0.1, 0.3, 0.5):
        rng = np.random.default_rng(4)
        hits, off = 0, 0.0
        for _ in range(REPEATS):
            healthy, _, healthy_patients = draw_unequal(rng, 100, 0)
            mixed, truth, mixed_patients = draw_unequal(rng, 100, share)
            found = estimate_diseased_share(healthy, mixed, healthy_patients, mixed_patients)
            hits += found.interval[0] <= truth <= found.interval[1]
            off += (found.share - truth) / REPEATS
        setting = f"share {share}, AUROC 0.98, 100 + 100, 1 to 8 images each; off by {off:+.3f}"
        yield "interval contains the share of diseased", setting, "0.95", hits, REPEATS


def draw_unequal(
    rng: np.random.Generator, patients: int, share: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """Scores of images, the share of them that is diseased, and their patients."""
    who = np.repeat(np.arange(patients), rng.integers(1, 9, patients))
    diseased = (rng.random(patients) < share)[who]
    noise = np.sqrt(0.5) * (rng.normal(size=patients)[who] + rng.normal(size=len(who)))
    return np.where(diseased, 3.3 + 1.3 * noise, noise), diseased.mean(), who


if __name__ == "__main__":
    main()
