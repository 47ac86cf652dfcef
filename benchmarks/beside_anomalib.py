"""anomalib's one-class methods beside ours, on the same images, weights and measures.

    python benchmarks/beside_anomalib.py --set tumours=DIR/manifest.csv \\
        --set chests=DIR/matched.csv,data.equalize=true --anomalib FOLDER

Anomalib is not a dependency. It comes with `pip install anomalib` into another environment of the
same Python, whose site-packages are FOLDER, or with `pip install --target FOLDER --no-deps` of it
and of what its import then misses. The packages of this environment come first.

All methods learn from the healthy split and score the test split, as preset `probe` preprocesses
them; the probe learns from the mixed split, too. Anomalib's models are built, trained and asked by
its Engine; they have the weights of EfficientNet-Lite0 that are installed here, and images of 256 x
256 pixels as is its default. `--runs tumours=RUNS/fast` adds a row of our trained runs, the
folders seed-0, seed-1... there, evaluated on the same manifest.

Seconds, and the minutes of what is trained by steps, are those of a core (CPU time), so that other
work on the machine does not matter; set OMP_NUM_THREADS=1. Prints a table for each set and writes
them to docs/results/beside-anomalib.md after every method. What was measured is kept below --work,
and not measured again.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from a2bgan.data.batches import to_unit_range
from a2bgan.data.image_size import settled_for
from a2bgan.data.manifest import Manifest, read_manifest
from a2bgan.detection.evaluate import LabelledImages, load_labelled_split, read_scores
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.measures.bootstrap import bootstrap_auroc_interval
from a2bgan.detection.measures.localisation import MapMeasures
from a2bgan.detection.measures.metrics import auroc
from a2bgan.detection.measures.position import PositionMatching, position_alone
from a2bgan.files.atomic import write_atomically
from a2bgan.files.markdown import table_head, table_row
from a2bgan.models.backbone import Backbone
from a2bgan.models.pretrained import DEFAULT_BACKBONE, load_pretrained
from a2bgan.training.config import load_config
from a2bgan.training.methods.frozen_backbone import FrozenBackboneMethod
from a2bgan.training.methods.method import FitMethod, Method, PassMethod
from a2bgan.training.run_folder import RunFolder
from a2bgan.training.training_sets import TrainingSets
from result_page import script_parser, write_page

SIDE = 256
"""Of the images that anomalib's backbone sees: its default."""

STAGES = {4: "blocks.1", 8: "blocks.2", 16: "blocks.4", 32: "blocks.6"}
"""Names of EfficientNet-Lite0's stages by stride; a ResNet's layer1 to layer4 have the same."""

CORESET = 1000  # patches in the memory of anomalib's PatchCore: minutes on a slow core
BATCH = 8
OURS = ("probe", "padim", "patchcore")
POSITION_ALONE = "*position alone*"
HEAD = (
    "method", "learns from", "AUROC (95 %)", "pixel AP", "hit rate", "position-matched",
    "training, s", "scoring, s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """One of anomalib's models: its class, the strides of its paper's stages and what else it is
    given. Those that are trained by steps get the minutes, the others one look at the images."""

    title: str
    name: str
    strides: tuple[int, ...]
    one_layer: bool = False
    by_steps: bool = False


PEERS = (
    Peer("DFM", "Dfm", (16,), one_layer=True),
    Peer("DFKDE", "Dfkde", (32,)),
    Peer("PaDiM", "Padim", (4, 8, 16)),
    Peer("PatchCore", "Patchcore", (8, 16)),
    Peer("STFPM", "Stfpm", (4, 8, 16), by_steps=True),
    Peer("CFlow", "Cflow", (8, 16, 32), by_steps=True),
)
LEFT_OUT = (
    "Left out: Reverse Distillation and FastFlow, which take ResNets and a few transformers; "
    "EfficientAD and Dinomaly, whose weights no package holds."
)


@dataclass(frozen=True, slots=True)
class Found:
    """Scores (N,) of the test images, and maps (N, S, S) or None."""

    scores: np.ndarray
    maps: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Images:
    """A set, preprocessed: what is learned from, what is tested, and the settings of both."""

    manifest: Manifest
    settings: tuple[str, ...]
    sets: TrainingSets
    test: LabelledImages

    @classmethod
    def read(cls, path: Path, settings: Sequence[str]) -> "Images":
        manifest = read_manifest(path)
        config = settled_for(load_config("probe", None, list(settings)).data, manifest)
        images, patients = [], []
        for split in ("healthy", "mixed"):
            loaded, rows = load_rows(manifest.split(split), config)
            images.append(loaded.images)
            patients.append(np.array([row.patient_id for row in rows]))
        return cls(
            manifest,
            (*settings, f"data.size={config.size}"),
            TrainingSets(*images, *patients),
            load_labelled_split(manifest, "test", config),
        )

    @property
    def labels(self) -> np.ndarray:
        return np.array([row.label for row in self.test.rows])

    @property
    def patients(self) -> np.ndarray:
        return np.array([row.patient_id for row in self.test.rows])


def main() -> None:
    parser = script_parser(__doc__, "docs/results/beside-anomalib.md")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    parser.add_argument("--anomalib", type=Path, help="folder that anomalib is installed in")
    parser.add_argument("--runs", action="append", default=[], help="NAME=FOLDER of our runs")
    parser.add_argument("--minutes", type=float, default=4, help="of training by steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/beside-anomalib"))
    args = parser.parse_args()
    if args.anomalib is not None:
        sys.path.append(str(args.anomalib))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    trained = dict(entry.split("=", 1) for entry in args.runs)
    sets = dict(entry.split("=", 1) for entry in args.set)
    measured: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rest in sets.items():
        path, *settings = rest.split(",")
        images = Images.read(Path(path), settings)
        print(name, *table_head(HEAD), sep="\n", flush=True)
        rows = measured.setdefault(name, {})
        for title, row in measure_all(name, images, trained.get(name), args):
            rows[title] = row
            print(line(title, row), flush=True)
            write_page(args.out, page(measured, args))


def measure_all(
    name: str, images: Images, trained: str | None, args: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a set by method, as far as they were not measured before."""
    if trained is not None:
        yield "fast", of_runs(Path(trained), images)
    for preset in OURS:
        yield preset, kept(args, name, preset, lambda p=preset: of_preset(p, images, args.seed))
    for peer in PEERS:
        yield (
            f"anomalib {peer.title}",
            kept(args, name, f"anomalib-{peer.name}", lambda p=peer: of_peer(p, images, args)),
        )
    if any(mask is not None and mask.has_lesion for mask in images.test.masks):
        yield POSITION_ALONE, of_position(images)


def kept(args: argparse.Namespace, name: str, method: str, measure: Any) -> dict[str, Any]:
    """What was measured before, or now."""
    file = args.work / name / f"{method}-seed-{args.seed}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(measure()))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def of_preset(preset: str, images: Images, seed: int) -> dict[str, Any]:
    method, seconds = fitted(preset, images, seed)
    started = time.process_time()
    found = ours(method, images.test.images)
    row = {"trained": seconds, "scored": time.process_time() - started}
    return row | measures(images, found)


def fitted(preset: str, images: Images, seed: int, *settings: str) -> tuple[Method, float]:
    """A method that has seen all images of its sets, and the seconds that it took.

    Features are computed anew, whatever the cache holds.
    """
    wanted = [*images.settings, *settings, f"train.seed={seed}"]
    method = load_config(preset, None, wanted).build_method()
    started = time.process_time()
    with (
        tempfile.TemporaryDirectory(prefix="a2bgan-") as empty,
        patch.dict(os.environ, {"A2BGAN_CACHE": empty}),
    ):
        method.prepare(Fabric(accelerator="cpu", devices=1))
        if isinstance(method, FitMethod):
            method.fit(images.sets)
        elif isinstance(method, PassMethod):
            for start in range(0, len(images.sets.healthy), BATCH):
                method.absorb(to_unit_range(images.sets.healthy[start : start + BATCH]))
            method.finish()
    return method, time.process_time() - started


def ours(method: Method, images: np.ndarray) -> Found:
    scores, maps = [], []
    for start in range(0, len(images), BATCH):
        found = method.find(to_unit_range(images[start : start + BATCH]))
        assert found.scores is not None and found.anomaly_map is not None
        scores.append(found.scores[method.facts.score])
        maps.append(found.anomaly_map)
    return Found(torch.cat(scores).numpy(), torch.cat(maps).numpy())


def of_peer(peer: Peer, images: Images, args: argparse.Namespace) -> dict[str, Any]:
    """Train and ask one of anomalib's models by its own Engine."""
    from anomalib.engine import Engine
    from lightning.pytorch import seed_everything

    seed_everything(args.seed, verbose=False)
    model = built(peer, len(images.sets.healthy))
    limits: dict[str, Any] = {"max_epochs": -1} if peer.by_steps else {}
    with tempfile.TemporaryDirectory(prefix="anomalib-") as folder:
        engine = Engine(
            default_root_dir=folder,
            accelerator="cpu",
            devices=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stop_after(args.minutes)] if peer.by_steps else [],
            **limits,
        )
        started = time.process_time()
        engine.fit(model, train_dataloaders=batches(images.sets.healthy, shuffle=peer.by_steps))
        trained = time.process_time() - started
        started = time.process_time()
        found = asked(engine, model, images.test.images)
        scored = time.process_time() - started
        steps = engine.trainer.global_step
    row = {"trained": trained, "scored": scored, "steps": steps, **measures(images, found)}
    if peer.name in ("Padim", "Patchcore"):
        row["same"] = same_choices(peer, model.model, images, found, args.seed)
    return row


def stop_after(minutes: float) -> Any:
    """Lightning's callback that ends training after minutes of CPU time."""
    from lightning.pytorch import Callback

    started = time.process_time()

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop |= time.process_time() - started > 60 * minutes

    return Stop()


def built(peer: Peer, healthy: int) -> Any:
    """One of anomalib's models with the installed weights and their mean and deviation."""
    import anomalib.models
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    known = Backbone(DEFAULT_BACKBONE, (2, *STAGES), SIDE)
    load_pretrained(known, None)
    mean, std = (value.flatten().tolist() for value in (known.mean, known.std))
    transform = Compose([Resize((SIDE, SIDE), antialias=True), Normalize(mean, std)])
    layers = [STAGES[stride] for stride in peer.strides]
    options: dict[str, Any] = {"layer": layers[0]} if peer.one_layer else {"layers": layers}
    if peer.name == "Padim":
        options["n_features"] = 100  # its default with a ResNet-18, and that of the preset
    if peer.name == "Patchcore":
        patches = healthy * (SIDE // peer.strides[0]) ** 2
        options["coreset_sampling_ratio"] = min(1.0, (CORESET + 0.5) / patches)
    with weights_of(known):
        return getattr(anomalib.models, peer.name)(
            backbone=DEFAULT_BACKBONE,
            pre_processor=PreProcessor(transform=transform),
            post_processor=False,  # it rescales scores by labelled images
            evaluator=False,
            visualizer=False,
            **options,
        )


@contextmanager
def weights_of(known: Backbone) -> Iterator[None]:
    """Give timm's networks that are asked for pretrained the weights of this one.

    Anomalib would have them fetched from the network.
    """
    weights, create = known.features.state_dict(), timm.create_model

    def with_weights(name: str, pretrained: bool = False, **options: Any) -> Any:
        network = create(name, **options)
        if pretrained:
            network.load_state_dict({key: weights[key] for key in network.state_dict()})
        return network

    with patch.object(timm, "create_model", with_weights):
        yield


def batches(images: np.ndarray, shuffle: bool = False) -> Any:
    """Images (N, C, S, S) as anomalib's batches of three channels in [0, 1]."""
    from anomalib.data import ImageBatch, ImageItem
    from torch.utils.data import DataLoader

    class Items(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, place: int) -> Any:
            grey = (to_unit_range(images[place]) + 1) / 2
            return ImageItem(image=grey.expand(3, -1, -1).contiguous())

    return DataLoader(Items(), BATCH, shuffle=shuffle, collate_fn=ImageBatch.collate)


def asked(engine: Any, model: Any, images: np.ndarray) -> Found:
    batch = engine.predict(model, dataloaders=batches(images), return_predictions=True)
    scores = torch.cat([b.pred_score.flatten() for b in batch])
    if batch[0].anomaly_map is None:
        return Found(scores.numpy(), None)
    maps = torch.cat([b.anomaly_map.reshape(len(b.image), 1, SIDE, SIDE) for b in batch])
    return Found(scores.numpy(), at_size(maps, images.shape[-1]).numpy())


def at_size(maps: Tensor, side: int) -> Tensor:
    """Maps (N, 1, S, S) at the images' size, (N, side, side)."""
    if maps.shape[-1] != side:
        maps = functional.interpolate(maps, (side, side), mode="bilinear", antialias=True)
    return maps[:, 0]


def same_choices(
    peer: Peer, theirs: Any, images: Images, found: Found, seed: int
) -> dict[str, float]:
    """What our method finds at anomalib's settings, with what anomalib drew at random."""
    settings = [f"method.input_size={SIDE}"]
    if peer.name == "Padim":
        settings += ["method.channels=100", "method.regularisation=0.01"]
        config = load_config("padim", None, [*images.settings, *settings])
        method = config.build_method()
        assert isinstance(method, FrozenBackboneMethod)
        method.networks["memory"].get_buffer("chosen").copy_(theirs.idx.sort().values)
        method.prepare(Fabric(accelerator="cpu", devices=1))
        for start in range(0, len(images.sets.healthy), BATCH):
            method.absorb(to_unit_range(images.sets.healthy[start : start + BATCH]))
        method.finish()
    else:
        config = load_config("patchcore", None, [*images.settings, *settings])
        method = config.build_method()
        method.prepare(Fabric(accelerator="cpu", devices=1))
        bank: Any = method.networks["memory"]
        bank.fill(theirs.memory_bank)
    here = ours(method, images.test.images)
    assert here.maps is not None and found.maps is not None
    return {
        "auroc": auroc(images.labels, here.scores),
        "scores": float(np.corrcoef(here.scores, found.scores)[0, 1]),
        "maps": float(np.corrcoef(here.maps.ravel(), found.maps.ravel())[0, 1]),
    }


def measures(images: Images, found: Found) -> dict[str, Any]:
    """AUROC with its interval over patients, and what the map is worth where there are masks."""
    labels, patients = images.labels, images.patients
    row: dict[str, Any] = {
        "auroc": auroc(labels, found.scores),
        "auroc_ci": bootstrap_auroc_interval(labels, found.scores, patients),
    }
    if found.maps is not None:
        of_map, matching = MapMeasures(), PositionMatching()
        for values, mask, patient in zip(found.maps, images.test.masks, patients, strict=True):
            if mask is not None:
                of_map.add(values, np.asarray(mask))
                matching.add(values, np.asarray(mask), patient)
        matched = matching.result()
        row |= {"hit_rate": of_map.hit_rate()}
        row["pixel_ap"] = None if row["hit_rate"] is None else of_map.pixel_ap()
        row["position_matched_auroc"] = None if matched is None else matched.auroc
    return row


def of_position(images: Images) -> dict[str, Any]:
    """What a map is worth that knows the usual place of lesions alone."""
    known = [k for k, mask in enumerate(images.test.masks) if mask is not None]
    masks = [mask for mask in images.test.masks if mask is not None]
    of_guess = MapMeasures()
    for guess, mask in zip(position_alone(masks, images.patients[known]), masks, strict=True):
        of_guess.add(guess, np.asarray(mask))
    return {
        "pixel_ap": of_guess.pixel_ap(),
        "hit_rate": of_guess.hit_rate(),
        "position_matched_auroc": 0.5,
    }


def of_runs(folder: Path, images: Images) -> dict[str, Any]:
    """Means over trained and evaluated runs, seed-0, seed-1... of a folder."""
    runs = sorted(folder.glob("seed-*/metrics.json"))
    if not runs:
        raise SystemExit(f"{folder}: no seed-0/metrics.json or the like; train and evaluate first")
    found = [json.loads(run.read_text()) for run in runs]
    if any(f["manifest_sha256"] != images.manifest.sha256 for f in found):
        raise SystemExit(f"{folder}: its runs were evaluated on another manifest")
    row: dict[str, Any] = {"seeds": len(runs)}
    names = ("auroc", "pixel_ap", "hit_rate", "position_matched_auroc")
    for name in names:
        values = [f[name] for f in found if f.get(name) is not None]
        row[name] = float(np.mean(values)) if len(values) == len(found) else None
    _, labels, _, patients = read_scores(runs[0].with_name("metrics-scores.csv"))
    scores = np.stack([read_scores(run.with_name("metrics-scores.csv"))[2] for run in runs])
    row["auroc_ci"] = bootstrap_auroc_interval(labels, scores, patients)
    logs = [list(RunFolder(run.parent).metrics())[-1]["seconds"] for run in runs]
    row["trained"] = float(np.mean(logs))
    row["scored"] = float(np.mean([len(labels) / f["images_per_second"] for f in found]))
    return row


def page(
    measured: Mapping[str, Mapping[str, dict[str, Any]]], args: argparse.Namespace
) -> list[str]:
    threads = os.environ.get("OMP_NUM_THREADS")
    first = f"OMP_NUM_THREADS={threads} " if threads else ""
    shown = []
    for entry in args.set:
        name, _, rest = entry.partition("=")
        shown.append(",".join([f"--set {name}=DATA", *rest.split(",")[1:]]))
    shown += [f"--runs {entry.partition('=')[0]}=RUNS" for entry in args.runs]
    lines = [
        "# Beside anomalib",
        "",
        "How far do anomalib's one-class methods get on the same images?",
        "",
        f"`{first}python benchmarks/beside_anomalib.py {' '.join(shown)} "
        f"--minutes {args.minutes:g} --seed {args.seed} --anomalib FOLDER`",
        "",
        f"Anomalib {version('anomalib')}, its models and its Engine. All have the installed "
        "EfficientNet-Lite0, trained on ImageNet, and the same preprocessed images. B is the "
        f"healthy set, A the mixed one. Anomalib's models and the probe see {SIDE} x {SIDE}, "
        "presets `padim` and `patchcore` 128 x 128 pixels. Anomalib's PatchCore keeps "
        f"{CORESET} patches, ours 2000. STFPM and CFlow train for {args.minutes:g} minutes, the "
        "others look once at each image. Seconds and minutes are those of one core (CPU time). "
        f"{LEFT_OUT}",
        "",
    ]
    agreeing = []
    for name, rows in measured.items():
        lines += [f"## {name.replace('-', ' ').capitalize()}", "", *table_head(HEAD)]
        lines += [*(line(title, row) for title, row in rows.items()), ""]
        for title, row in rows.items():
            if "same" in row:
                agreeing.append(agreement(name, title.removeprefix("anomalib "), row))
    if agreeing:
        lines += [
            "## The same settings",
            "",
            "Our PaDiM and PatchCore at anomalib's settings, with what anomalib drew at random: "
            "PaDiM's channels, PatchCore's memory.",
            "",
            *table_head(
                ("set", "method", "AUROC here", "anomalib's", "correlation of scores", "of maps")
            ),
            *agreeing,
            "",
        ]
    return lines[:-1]


def line(title: str, row: Mapping[str, Any]) -> str:
    interval = row.get("auroc_ci")
    score = "" if row.get("auroc") is None else f"{row['auroc']:.3f}"
    if interval is not None:
        score += f" ({interval[0]:.3f}-{interval[1]:.3f})"
    shown = [score]
    for name in ("pixel_ap", "hit_rate", "position_matched_auroc"):
        shown.append("" if row.get(name) is None else f"{row[name]:.3f}")
    for name in ("trained", "scored"):
        shown.append("" if row.get(name) is None else f"{row[name]:.0f}")
    if "seeds" in row:
        title = f"{title}, mean of {row['seeds']}"
    both = title.startswith(("fast", "probe"))
    learns = "" if title == POSITION_ALONE else "B and A" if both else "B"
    return table_row([title, learns, *shown])


def agreement(name: str, title: str, row: Mapping[str, Any]) -> str:
    same = row["same"]
    cells = [f"{same['auroc']:.4f}", f"{row['auroc']:.4f}"]
    cells += [f"{same['scores']:.6f}", f"{same['maps']:.6f}"]
    return table_row([name, title, *cells])


if __name__ == "__main__":
    main()
