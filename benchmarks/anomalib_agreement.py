"""PaDiM and PatchCore beside anomalib's, on the same random backbone and phantoms.

    python benchmarks/anomalib_agreement.py [--anomalib FOLDER]

Anomalib is not a dependency. It comes with `pip install anomalib` into another environment of the
same Python, whose site-packages are FOLDER, or with `pip install --target FOLDER --no-deps` of it
and of what its import then misses. The packages of this environment come first.

PatchCore chooses its memory at random and two choices differ, in either implementation: what it
does with a memory is compared with the same one in both, how memories are chosen by the mean over
several choices. Prints a table and writes it to docs/results/anomalib-agreement.md.
"""

import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from sklearn.metrics import roc_auc_score
from sklearn.random_projection import johnson_lindenstrauss_min_dim
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.data.generate.phantoms import DISEASES, make_phantom
from a2bgan.training.config import load_config
from a2bgan.training.methods.frozen_backbone import FrozenBackboneMethod
from result_page import script_parser, write_page

SIZE = 128
HEALTHY, TESTED = 40, 60  # tested: of each kind
PATCHES = HEALTHY * (SIZE // 8) ** 2
CORESET = 2000
DRAWS = 4  # of a memory, for each seed
WIDTH = johnson_lindenstrauss_min_dim(PATCHES, eps=0.9)  # of anomalib's projection
AUROC_APART = 0.005
MAP_CORRELATION = 0.99


def main() -> None:
    parser = script_parser(__doc__, "docs/results/anomalib-agreement.md")
    parser.add_argument("--anomalib", type=Path, help="folder that anomalib is installed in")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if args.anomalib is not None:
        sys.path.append(str(args.anomalib))
    warnings.filterwarnings("ignore")
    try:
        import anomalib.models  # noqa: F401
    except ImportError as error:
        print(f"skipped: anomalib cannot be imported ({error}); see --help for how to get it")
        return
    healthy = phantoms(0, HEALTHY, [None])
    tested = torch.cat([phantoms(1, TESTED, [None]), phantoms(2, TESTED, list(DISEASES))])
    lines = [
        "# Agreement with anomalib",
        "",
        "Do PaDiM and PatchCore agree with anomalib's, on the same backbone and images?",
        "",
        f"`python benchmarks/anomalib_agreement.py --seeds {args.seeds}`",
        "",
        f"Anomalib {version('anomalib')}. ResNet-18 with the same random weights in both, one for "
        f"each seed; {HEALTHY} healthy phantoms of {SIZE} x {SIZE} pixels to learn from, {TESTED} "
        f"+ {TESTED} to test; {CORESET} of {PATCHES} patches in PatchCore's memory.",
        "",
        "| what | seed | correlation of maps | of scores | AUROC here | anomalib's | apart |",
        "|" + " --- |" * 7,
    ]
    print(*lines[-2:], sep="\n")
    shared, draws = [], []
    for seed in range(args.seeds):
        for name, ours, theirs in same(healthy, tested, seed):
            maps, scores = (
                np.corrcoef(a.flatten(), b.flatten())[0, 1]
                for a, b in zip(ours, theirs, strict=True)
            )
            shared.append((name, maps, auroc(ours), auroc(theirs)))
            lines.append(row(name, seed, f"{maps:.6f}", f"{scores:.6f}", *shared[-1][2:]))
            print(lines[-1], flush=True)
        draws.append(own_memories(healthy, tested, seed))
    aurocs = {name: np.concatenate([d[name] for d in draws]) for name in draws[0]}
    for name in (f"{WIDTH}", "128"):
        lines.append(row(own(name), "all", "", "", *(aurocs[n].mean() for n in (name, "anomalib"))))
        print(lines[-1])
    spread = np.mean([np.std(d["anomalib"], ddof=1) for d in draws])
    apart = {name: abs(a.mean() - aurocs["anomalib"].mean()) for name, a in aurocs.items()}
    verdicts = {
        f"PaDiM's maps correlate above {MAP_CORRELATION}": all(
            maps > MAP_CORRELATION for name, maps, _, _ in shared if name == "PaDiM"
        ),
        f"AUROCs of PaDiM, and of PatchCore with the same memory, within {AUROC_APART}": all(
            abs(a - b) <= AUROC_APART for _, _, a, b in shared
        ),
        f"AUROC of PatchCore with own memories, chosen in {WIDTH} dimensions as anomalib does, "
        f"within {AUROC_APART} on average": apart[f"{WIDTH}"] <= AUROC_APART,
        "the same, chosen in 128 dimensions as the presets do": apart["128"] <= AUROC_APART,
    }
    lines += ["", *(f"- {what}: {'yes' if yes else 'NO'}." for what, yes in verdicts.items())]
    lines += [
        "",
        f"Own memories: mean of {DRAWS} random memories for each seed. Anomalib's AUROC has a "
        f"standard deviation of {spread:.4f} from one memory to the next.",
    ]
    print(*lines[-7:], sep="\n")
    write_page(args.out, lines)


def row(what: str, seed: object, maps: str, scores: str, here: float, there: float) -> str:
    numbers = f"{here:.4f} | {there:.4f} | {abs(here - there):.4f}"
    return f"| {what} | {seed} | {maps} | {scores} | {numbers} |"


def own(width: str) -> str:
    return f"PatchCore, own memories ({width} dimensions)"


Found = tuple[np.ndarray, np.ndarray]
"""Maps (N, S, S) and scores (N,) of as many normal as abnormal images, in this order."""


def auroc(found: Found) -> float:
    return roc_auc_score(np.repeat((0, 1), TESTED), found[1])


def same(healthy: Tensor, tested: Tensor, seed: int) -> Iterator[tuple[str, Found, Found]]:
    """Names, our findings and anomalib's, with the same random choices in both."""
    from anomalib.models.image.padim.torch_model import PadimModel

    padim = fit("padim", healthy, seed)
    theirs = PadimModel("resnet18", pre_trained=False)
    theirs.idx = padim.networks["memory"].get_buffer("chosen")
    take_backbone(theirs, padim)
    look(theirs, padim, healthy)
    theirs.fit()
    yield "PaDiM", ours(padim, tested), look(theirs.eval(), padim, tested)

    patchcore = fit("patchcore", healthy, seed)
    theirs = their_patchcore(patchcore)
    theirs.memory_bank = patchcore.networks["memory"].get_buffer("patches")
    yield (
        "PatchCore, same memory",
        ours(patchcore, tested),
        look(theirs.eval(), patchcore, tested),
    )


def own_memories(healthy: Tensor, tested: Tensor, seed: int) -> dict[str, list[float]]:
    """AUROCs of PatchCore for several choices of its memory: ours by width, and anomalib's."""
    like = fit("patchcore", healthy, seed)
    aurocs: dict[str, list[float]] = {"anomalib": []}
    for draw in range(DRAWS):
        for width in (f"{WIDTH}", "128"):
            method = fit("patchcore", healthy, 1000 + DRAWS * seed + draw, like, width)
            aurocs.setdefault(width, []).append(auroc(ours(method, tested)))
        theirs = their_patchcore(like)
        look(theirs, like, healthy)
        np.random.seed(DRAWS * seed + draw)  # noqa: NPY002 (what anomalib's projection draws from)
        torch.manual_seed(DRAWS * seed + draw)
        theirs.subsample_embedding(CORESET / PATCHES)
        aurocs["anomalib"].append(auroc(look(theirs.eval(), like, tested)))
    return aurocs


def fit(
    name: str,
    healthy: Tensor,
    seed: int,
    like: FrozenBackboneMethod | None = None,
    width: str = "128",
) -> FrozenBackboneMethod:
    """A fitted method, on the backbone of another one if that is given."""
    settings = [f"data.size={SIZE}", "method.random_features=true", f"train.seed={seed}"]
    settings += ["method.backbone=resnet18.tv_in1k"]
    if name == "patchcore":
        settings += [f"method.coreset={CORESET}", f"method.reservoir={PATCHES}"]
        settings += [f"method.projection={width}"]
    method = load_config(name, None, settings).build_method()
    assert isinstance(method, FrozenBackboneMethod)
    method.prepare(Fabric(accelerator="cpu", devices=1))
    if like is not None:
        method.backbone.load_state_dict(like.backbone.state_dict())
    for batch in healthy.split(20):
        method.absorb(batch)
    method.finish()
    return method


def their_patchcore(like: FrozenBackboneMethod) -> Any:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    theirs = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False)
    take_backbone(theirs, like)
    return theirs


def take_backbone(theirs: Any, method: FrozenBackboneMethod) -> None:
    theirs.feature_extractor.feature_extractor.load_state_dict(
        method.backbone.features.state_dict()
    )
    theirs.train()


def ours(method: FrozenBackboneMethod, tested: Tensor) -> Found:
    found = [method.find(batch) for batch in tested.split(20)]
    maps = torch.cat([f.anomaly_map for f in found])
    return maps.numpy(), torch.cat([f.scores[method.facts.score] for f in found]).numpy()


def look(theirs: Any, method: FrozenBackboneMethod, images: Tensor) -> Found:
    """Show anomalib's model images; what it finds, once it is in evaluation mode."""
    backbone = method.backbone
    found = [theirs(((x + 1) / 2 - backbone.mean) / backbone.std) for x in images.split(20)]
    if theirs.training:
        return np.empty(0), np.empty(0)
    maps = torch.cat([f.anomaly_map[:, 0] for f in found])
    return maps.numpy(), torch.cat([f.pred_score for f in found]).numpy()


def phantoms(seed: int, count: int, kinds: list[Any]) -> Tensor:
    """(count, 1, SIZE, SIZE) in [-1, 1]."""
    drawn = [
        make_phantom(np.random.default_rng([seed, i]), SIZE, kinds[i % len(kinds)]).image[None]
        for i in range(count)
    ]
    return to_unit_range(np.stack(drawn))


if __name__ == "__main__":
    main()
