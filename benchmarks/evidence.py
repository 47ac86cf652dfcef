"""What each ingredient of the evidence is worth, and how far labels would get on the same features.

    python benchmarks/evidence.py --set tumours=DIR/lgg_flair/dev.csv \\
        --set chests=DIR/nih_boxes/dev.csv,data.equalize=true

Fits the evidence on B and A of each set, each time with one ingredient changed, and measures its
score and its map of log odds on the test images. The last row is no method: the same linear model
of places, taught by the masks of the mixed images. What it does not find, no linear reading of
these features finds from so few images. Writes docs/results/evidence.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from a2bgan.data.cache.images import load_images
from a2bgan.data.formats.reading import read_mask
from a2bgan.data.manifest import Manifest, Row, read_manifest
from a2bgan.data.preprocessing import preprocess_mask
from a2bgan.detection.measures.localisation import hit_rate, pixel_ap, within_image_auroc
from a2bgan.detection.measures.metrics import auroc
from a2bgan.detection.measures.position import position_alone, position_matched
from a2bgan.files.markdown import table_head, table_row
from a2bgan.models import evidence as reading
from a2bgan.models.backbone import Backbone
from a2bgan.models.evidence import Evidence, on_one_grid, over_pixels, split, standardised
from a2bgan.models.fitted import MemoryBank
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training import evidence_fit as fitting
from a2bgan.training.config import Config, load_config
from a2bgan.training.feature_cache import cached_features
from a2bgan.training.training_sets import TrainingSets
from result_page import script_parser, write_page

BACKBONE, STRIDES = "tf_efficientnet_lite0", (8, 16, 32)
replaced = patch.object
CPU = torch.device("cpu")
BACKGROUND = 12
"""So many healthy places of each image teach the model of labels."""
POSITION_ALONE = "*position alone*"
NOTE = (
    "Test images of development sets. Rows in italics are bounds, not methods: *taught by masks* "
    "is the same linear model, trained on the lesion masks of the mixed images; *position alone* "
    "knows only where lesions usually are."
)
HEAD = ("AUROC", "pixel AP", "AUROC within an image", "hit rate", "position-matched")


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    args = parser.parse_args()
    lines = ["# What each part of the evidence is worth", ""]
    lines += ["How do score and map change without it, and what would labels add?", ""]
    shown = " ".join(f"--set {spec.partition('=')[0]}=..." for spec in args.set)
    lines += [f"`python benchmarks/evidence.py {shown}`", ""]
    lines += [NOTE, ""]
    for spec in args.set:
        name, _, rest = spec.partition("=")
        path, *settings = rest.split(",")
        lines += [f"## {name}", "", *table_head(("", *HEAD))]
        for row in rows(Path(path), load_config("probe", None, settings)):
            print(name, row, flush=True)
            lines.append(row)
        lines.append("")
    write_page(args.out / "evidence.md", lines[:-1])


def rows(path: Path, config: Config) -> Iterator[str]:
    """Lines of a set's table."""
    manifest = read_manifest(path)
    sets = TrainingSets(
        images(manifest, "healthy", config),
        images(manifest, "mixed", config),
        *(np.array([r.patient_id for r in manifest.split(s)]) for s in ("healthy", "mixed")),
    )
    tested = manifest.split("test")
    test = images(manifest, "test", config)
    lesions = masks(tested, config)

    def line(name: str, scores: np.ndarray | None, odds: torch.Tensor) -> str:
        maps = over_pixels(odds, lesions.shape[1:]).numpy()
        return measured(name, tested, lesions, scores, maps)

    def of_evidence(name: str, side: int = 256, strides: tuple[int, ...] = STRIDES) -> str:
        evidence = fitted(sets, side, strides)
        found = look(evidence, test)
        return line(name, found[1], found[0])

    yield of_evidence("as it is")
    with replaced(reading, "split", not_relative), replaced(fitting, "split", not_relative):
        yield of_evidence("features not relative to their image")
    with replaced(reading, "PLACES", 1.0), replaced(fitting, "PLACES", 1.0):
        yield of_evidence("all places count, not the highest twentieth")
    yield of_evidence("128 pixels into the backbone", side=128)
    yield of_evidence("stride 16 alone", strides=(16,))
    distance = one_class_distance(sets.healthy, test)
    yield line(
        "distance to the nearest healthy feature", reading.focal_score(distance).numpy(), distance
    )
    odds = taught_by_masks(sets, masks(manifest.split("mixed"), config), test)
    yield line("*taught by masks*", reading.focal_score(odds).numpy(), odds)
    guess = position_alone(lesions, np.array([row.patient_id for row in tested]))
    yield measured(POSITION_ALONE, tested, lesions, None, guess)


def fitted(sets: TrainingSets, side: int, strides: tuple[int, ...]) -> Evidence:
    evidence = Evidence(backbone(side, strides))
    fitting.fit_evidence(evidence, sets, CPU)
    return evidence


def look(evidence: Evidence, images: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Log odds of places and scores of images, by cached features."""
    odds, scores = [], []
    for features in grids(images, evidence.backbone):
        found = evidence._weigh(features)
        odds.append(found.odds)
        scores.append(found.score)
    return torch.cat(odds), torch.cat(scores).numpy()


def one_class_distance(healthy: np.ndarray, test: np.ndarray) -> torch.Tensor:
    """Distance (N, h, w) of each place to the nearest healthy one, both relative to their image."""
    bank, network = MemoryBank(), backbone(256, STRIDES)
    known = torch.cat([split(f)[0] for f in grids(healthy, network)])
    spread = known.std(dim=(0, 2, 3))[:, None, None]
    patches = standardised(known, spread).permute(0, 2, 3, 1).flatten(0, 2)
    order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))
    bank.fill(patches[order[:20_000]])
    parts = []
    for features in grids(test, network):
        places = standardised(split(features)[0], spread).permute(0, 2, 3, 1)
        parts.append(bank.nearest(places.flatten(0, 2))[0].view(places.shape[:3]))
    return torch.cat(parts)


def taught_by_masks(sets: TrainingSets, lesions: np.ndarray, test: np.ndarray) -> torch.Tensor:
    """Log odds (N, h, w) of a linear model of places that has seen the lesions of A."""
    network = backbone(256, STRIDES)
    rng = np.random.default_rng(0)
    b, a = (torch.cat([split(f)[0] for f in grids(x, network)]) for x in (sets.healthy, sets.mixed))
    spread = b.std(dim=(0, 2, 3))[:, None, None]
    covered = functional.adaptive_avg_pool2d(torch.from_numpy(lesions).float(), b.shape[-2:])
    sick = (covered > 0.5).flatten(1).numpy()
    places = [standardised(x, spread).flatten(2).transpose(1, 2).numpy() for x in (b, a)]
    chosen, labels = [], []
    for image, inside in zip(
        np.concatenate(places), np.concatenate([np.zeros((len(b), sick.shape[1]), bool), sick]),
        strict=True,
    ):  # fmt: skip
        outside = rng.permutation(np.flatnonzero(~inside))[:BACKGROUND]
        chosen += [image[inside], image[outside]]
        labels += [1] * int(inside.sum()) + [0] * len(outside)
    model = LogisticRegression(C=1e-4, class_weight="balanced", max_iter=300)
    model.fit(np.concatenate(chosen), labels)
    weight = torch.from_numpy(model.coef_[0]).float()
    parts = [
        torch.einsum("nchw,c->nhw", standardised(split(f)[0], spread), weight)
        for f in grids(test, network)
    ]
    return torch.cat(parts)


def measured(
    name: str, rows: Sequence[Row], lesions: np.ndarray, scores: np.ndarray | None, maps: np.ndarray
) -> str:
    labels = np.array([row.label for row in rows])
    patients = np.array([row.patient_id for row in rows])
    kept = lesions.any((1, 2)) | (labels == 0)
    alone = name == POSITION_ALONE
    matched = None if alone else position_matched(maps[kept], lesions[kept], patients[kept])
    values = (
        None if scores is None else auroc(labels, scores),
        pixel_ap(maps[kept], lesions[kept]),
        within_image_auroc(maps[kept], lesions[kept]),
        hit_rate(maps[kept], lesions[kept]),
        None if matched is None else matched.auroc,
    )
    return table_row([name, *("" if v is None else f"{v:.3f}" for v in values)])


def backbone(side: int, strides: tuple[int, ...]) -> Backbone:
    network = Backbone(BACKBONE, strides, side)
    load_pretrained(network, None)
    return network


def grids(images: np.ndarray, network: Backbone) -> Iterator[torch.Tensor]:
    """Features (n, C, h, w) of images on one grid, 64 images at a time."""
    maps = cached_features(images, network, device=CPU)
    for i in range(0, len(images), 64):
        yield on_one_grid([torch.from_numpy(f[i : i + 64].astype(np.float32)) for f in maps])


def not_relative(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `a2bgan.models.evidence.split`, but with each image's mean left in."""
    return features, split(features)[1]


def images(manifest: Manifest, which: str, config: Config) -> np.ndarray:
    chosen = manifest.split(which)
    return load_images([r.path for r in chosen], [r.name for r in chosen], config.data).images


def masks(rows: Sequence[Row], config: Config) -> np.ndarray:
    """(N, S, S) bool, empty where a row has none."""
    empty = np.zeros((config.data.size, config.data.size), bool)
    return np.stack(
        [
            empty
            if row.mask is None
            else preprocess_mask(read_mask(row.mask, config.data.max_pixels), config.data)
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
