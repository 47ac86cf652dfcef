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
from a2bgan.data.manifest import Manifest, read_manifest
from a2bgan.detection.audit.shortcuts import Shortcut, audit_shortcuts
from a2bgan.detection.measures.metrics import auroc
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
        "Which trivial statistics tell the mixed from the healthy set, and what does each remedy "
        "leave?",
        "",
        "`python benchmarks/shortcuts.py --chestxray8 DIR`",
        "",
        "Images of 64 x 64. Named: what `a2bgan data check` names, without labels, with its AUROC "
        "(\\*\\* shortcut, \\* suspected; below 0.5: lower in the mixed). The other columns are of "
        "the labelled test images: the statistic that the audit ranks first; a linear classifier "
        "of A against B on pixels; and the share of its score's variance among normal films "
        "(cross-validated) that the grey values of the untreated film explain.",
    ]
    for name in ("pneumonia", "covid"):
        manifest = read_manifest(args.chestxray8 / f"{name}.csv")
        lines += ["", f"## {name}", "", *study(manifest)]
    print(*lines, sep="\n")
    write_page(args.out / "shortcuts.md", lines)


def study(manifest: Manifest) -> Iterator[str]:
    """The table of one data set: a row for the files and one for each remedy."""
    tones = exposures(manifest)
    head = ["images", "named", "best statistic, AUROC", "linear, AUROC", "grey values explain"]
    for row in (head, ["---"] * len(head)):
        yield f"| {' | '.join(row)} |"
    with tempfile.TemporaryDirectory() as folder:
        sets = {name: (manifest, DataConfig(**some)) for name, some in REMEDIES.items()}
        sets[MATCHED] = (with_histogram_of_healthy(manifest, Path(folder)), DataConfig())
        for number, (name, (images, config)) in enumerate(sets.items()):
            shortcuts = audit_shortcuts(images, config).shortcuts
            if number == 0:
                files = [s for s in shortcuts if s.seen != "preprocessed"]
                yield f"| files | {named(files)} | | | |"
            seen = [s for s in shortcuts if s.seen == "preprocessed"]
            measured = test_aurocs(images, config, tones)
            yield f"| {' | '.join([name, named(seen), *measured])} |"


def named(shortcuts: list[Shortcut]) -> str:
    """The statistics that an audit names, with their AUROC."""
    marks = {"shortcut": " \\*\\*", "suspected": " \\*"}
    return ", ".join(
        f"{s.statistic} {s.auroc:.2f}{marks[s.level]}" for s in shortcuts if s.level in marks
    )


def exposures(manifest: Manifest) -> np.ndarray:
    """TONES of the test images as they are, (N, 9)."""
    rows = manifest.split("test")
    images = load_images([r.path for r in rows], [r.name for r in rows], DataConfig()).images
    return np.percentile(images.reshape(len(images), -1), TONES, axis=1).T / 255


def test_aurocs(manifest: Manifest, config: DataConfig, tones: np.ndarray) -> list[str]:
    """Test AUROCs of the trivial baseline and of a linear classifier, and how much of the latter's
    score `exposures` explain."""
    pixels, patients, labels = {}, {}, None
    for split in ("healthy", "mixed", "test"):
        rows = manifest.split(split)
        loaded = load_images([r.path for r in rows], [r.name for r in rows], config)
        pixels[split] = loaded.images
        patients[split] = [rows[i].patient_id for i in loaded.index]
        labels = [rows[i].label for i in loaded.index]  # of the test at the end
    baseline = trivial_row(manifest, config)
    chosen = baseline.repeats[0].metrics["score"]

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
    normal = np.asarray(labels) == 0
    people = np.array(patients["test"])
    return [
        f"{auroc(labels, baseline.repeats[0].scores):.2f} {chosen}",
        f"{auroc(labels, scores):.2f}",
        f"{share_explained(tones[normal], scores[normal], people[normal]):.2f}",
    ]


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
