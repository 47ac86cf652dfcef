"""Which trivial statistics tell sick from healthy on real X-rays, and what each remedy leaves.

    python benchmarks/shortcuts.py --chestxray8 DIR

DIR holds pneumonia.csv and covid.csv. Audits the healthy against the mixed set, without labels, for
every remedy; for analysis alone the same statistics on the labelled test images, and how well a
linear classifier of A against B detects there. Writes docs/results/shortcuts.md.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from a2bgan.benchmark.trivial_baseline import trivial_row
from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.image_statistics import PIXEL_STATISTICS
from a2bgan.data.manifest import Manifest, read_manifest
from a2bgan.detection.audit.shortcuts import Shortcut, audit_shortcuts
from a2bgan.detection.audit.trivial_statistics import preprocessed_statistic
from a2bgan.detection.measures.delong import auroc_with_error
from a2bgan.detection.measures.metrics import auroc
from a2bgan.files.markdown import table_head, table_row
from result_page import script_parser, write_page

REMEDIES: dict[str, dict[str, object]] = {
    "as it is": {},
    "window=percentile": {"window": "percentile"},
    "standardize": {"standardize": True},
    "clahe=2": {"clahe": 2},
    "equalize": {"equalize": True},
    "clahe=2, equalize": {"clahe": 2, "equalize": True},
    "mask_border=0.05": {"mask_border": 0.05},
    "mask_corners=0.2": {"mask_corners": 0.2},
    "equalize, mask_border, mask_corners": {
        "equalize": True, "mask_border": 0.05, "mask_corners": 0.2
    },
}  # fmt: skip
MATCHED = "histogram of B (not a setting)"
TONES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
"""Percentiles of an image's grey values, which say how it was exposed."""


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--chestxray8", type=Path, required=True)
    args = parser.parse_args()
    lines = [
        "# Shortcuts in real X-rays, and what removes them",
        "",
        "`python benchmarks/shortcuts.py --chestxray8 DIR`",
        "",
        "AUROC by which one statistic alone tells mixed from healthy images, unfolded: below 0.5 "
        "it is lower in the mixed. Intervals: 95 % for all statistics of an audit together, over "
        "patients. \\*\\* shortcut, \\* suspected, as `a2bgan data check` says it. Images of 64 "
        "x 64, 8 bits; NIH's pneumonia, and COVID-19 images from other hospitals, whose source is "
        "part of any difference.",
    ]
    for name in ("pneumonia", "covid"):
        manifest = read_manifest(args.chestxray8 / f"{name}.csv")
        lines += ["", f"## {name}", "", *study(manifest)]
    print(*lines, sep="\n")
    write_page(args.out / "shortcuts.md", lines)


def study(manifest: Manifest) -> Iterator[str]:
    """Three tables of one data set."""
    found, on_test, originals = {}, {}, []
    tones = exposures(manifest)
    with tempfile.TemporaryDirectory() as folder:
        sets = {name: (manifest, DataConfig(**some)) for name, some in REMEDIES.items()}
        sets[MATCHED] = (with_histogram_of_healthy(manifest, Path(folder)), DataConfig())
        for name, (images, config) in sets.items():
            audit = audit_shortcuts(images, config)
            found[name] = {s.statistic: s for s in audit.shortcuts if s.seen == "preprocessed"}
            on_test[name] = test_aurocs(images, config, tones)
            originals = originals or [s for s in audit.shortcuts if s.seen != "preprocessed"]
    yield "Files as they are, mixed against healthy:"
    yield ""
    yield from table(["statistic", "AUROC (95 %)"], [[s.statistic, cell(s)] for s in originals])
    yield ""
    yield "Preprocessed, mixed against healthy:"
    yield ""
    yield from table(
        ["statistic", *found],
        [[s, *(cell(of[s]) for of in found.values())] for s in PIXEL_STATISTICS],
    )
    yield ""
    yield (
        "On the labelled test images, for analysis alone (standard error, over patients): each "
        "statistic; the one that the audit puts first, in its direction; and a linear classifier "
        "of A against B. Grey values in its score: how much of the score's variance nine "
        "percentiles of the grey values of the image as it is, and their squares, explain (R\u00b2 "
        "of ridge regression, by ten-fold cross-validation over patients), within normal and "
        "within abnormal images. Within the abnormal that may be disease; and what the last column "
        "has, whose images all have one histogram, is no exposure, but goes with it."
    )
    yield ""
    yield from table(
        ["statistic", *on_test],
        [[row, *(of[row] for of in on_test.values())] for row in on_test["as it is"]],
    )


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield from table_head(head)
    yield from map(table_row, rows)


def cell(shortcut: Shortcut) -> str:
    low, high = shortcut.interval
    mark = {"shortcut": " \\*\\*", "suspected": " \\*", "": ""}[shortcut.level]
    return f"{shortcut.auroc:.3f} ({low:.2f}-{high:.2f}){mark}"


def exposures(manifest: Manifest) -> np.ndarray:
    """TONES of the test images as they are, (N, 9)."""
    rows = manifest.split("test")
    images = load_images([r.path for r in rows], [r.name for r in rows], DataConfig()).images
    return np.percentile(images.reshape(len(images), -1), TONES, axis=1).T / 255


def test_aurocs(manifest: Manifest, config: DataConfig, tones: np.ndarray) -> dict[str, str]:
    """Test AUROCs of all statistics, of the trivial baseline and of a linear classifier, and how
    much `exposures` explain of the latter's score."""
    pixels, patients, labels = {}, {}, None
    for split in ("healthy", "mixed", "test"):
        rows = manifest.split(split)
        loaded = load_images([r.path for r in rows], [r.name for r in rows], config)
        pixels[split] = loaded.images
        patients[split] = [rows[i].patient_id for i in loaded.index]
        labels = [rows[i].label for i in loaded.index]  # of the test at the end

    def shown(scores: np.ndarray) -> str:
        value, error = auroc_with_error(labels, scores, patients["test"])
        return f"{value:.3f} ({error:.3f})"

    found = {s: shown(preprocessed_statistic(pixels["test"], s)) for s in PIXEL_STATISTICS}
    baseline = trivial_row(manifest, config)
    chosen = baseline.repeats[0].metrics["score"]
    found["chosen by the audit"] = f"{auroc(labels, baseline.repeats[0].scores):.3f} {chosen}"

    def features(images: np.ndarray) -> np.ndarray:
        """Means of 2 x 2 pixels."""
        n, _, height, width = images.shape
        halved = images.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        return halved.reshape(n, -1)

    x = np.concatenate([features(pixels["healthy"]), features(pixels["mixed"])])
    y = np.repeat((0, 1), (len(pixels["healthy"]), len(pixels["mixed"])))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4, max_iter=2000))
    classifier.fit(x, y)
    scores = classifier.decision_function(features(pixels["test"]))
    found["linear, A against B"] = shown(scores)
    within = [np.asarray(labels) == label for label in (0, 1)]
    people = np.array(patients["test"])
    shares = [share_explained(tones[of], scores[of], people[of]) for of in within]
    found["grey values in its score"] = ", ".join(f"{share:.2f}" for share in shares)
    return found


def share_explained(tones: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> float:
    """R squared of scores (N,) from tones (N, F) and their squares; below 0: none."""
    features = StandardScaler().fit_transform(np.concatenate([tones, tones**2], axis=1))
    ridge = RidgeCV(np.logspace(-1, 4, 11))
    folds = GroupKFold(10)
    foretold = cross_val_predict(ridge, features, scores, groups=patients, cv=folds)
    return float(r2_score(scores, foretold))


def with_histogram_of_healthy(manifest: Manifest, folder: Path) -> Manifest:
    """A copy whose images, of 64 x 64, all have the mean histogram of the healthy ones.

    Every image's ranks, which are what `equalize` gives, through the quantiles of that histogram.
    """
    rows = [row for row in manifest.rows if row.split != "extra"]
    paths, names = [row.path for row in rows], [row.name for row in rows]
    ranks = load_images(paths, names, DataConfig(equalize=True, depth=16))
    plain = load_images(paths, names, DataConfig())
    is_healthy = np.array([rows[i].split == "healthy" for i in plain.index])
    counts = np.bincount(plain.images[is_healthy].ravel(), minlength=256)
    quantiles = np.repeat(np.arange(256), counts)
    made = []
    for place, index in enumerate(ranks.index):
        row = rows[index]
        share = ranks.images[place, 0] / 65536
        image = quantiles[(share * len(quantiles)).astype(int)].astype(np.uint8)
        path = folder / f"{index:05d}.png"
        Image.fromarray(image).save(path)
        made.append(replace(row, name=path.name, path=path))
    return Manifest(tuple(made), folder)


if __name__ == "__main__":
    main()
