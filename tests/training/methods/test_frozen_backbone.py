"""What PaDiM and PatchCore share; and each against its formula, written out in float64."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from a2bgan.detection.detect import all_scores, detect
from a2bgan.detection.trained_model import load_trained
from a2bgan.errors import InputError
from a2bgan.training import loop
from a2bgan.training.checkpoint import find_checkpoint, list_checkpoints
from a2bgan.training.config import load_config
from a2bgan.training.free_memory import free_memory
from a2bgan.training.loop import train
from a2bgan.training.methods import patchcore
from a2bgan.training.methods.frozen_backbone import FrozenBackboneMethod, moved
from a2bgan.training.methods.padim import PaDiM
from a2bgan.training.methods.patchcore import PatchCore, reweighting
from a2bgan.training.run_folder import RunFolder

NAMES = ("padim", "patchcore")
SMALL = (
    "data.size=32",
    "method.input_size=64",
    "train.accelerator=cpu",
    "train.batch_size=5",
)
OWN = {"padim": ("method.channels=20",), "patchcore": ("method.coreset=60",)}


def small_config(name: str, *settings: str):
    return load_config(name, None, [*SMALL, *OWN[name], *settings])


def squares(seed: int, n: int, *, lesion: bool = False) -> np.ndarray:
    """Noisy ramps (n, 1, 32, 32) uint8, with a bright square if ``lesion``."""
    rng = np.random.default_rng(seed)
    images = np.linspace(40, 120, 32)[None, :] + rng.normal(0, 8, (n, 32, 32))
    for image in images if lesion else ():
        top, left = rng.integers(4, 20, 2)
        image[top : top + 8, left : left + 8] += 90
    return images.clip(0, 255).astype(np.uint8)[:, None]


def fitted(name: str, *settings: str, count: int = 17) -> FrozenBackboneMethod:
    method = small_config(name, *settings).build_method()
    assert isinstance(method, FrozenBackboneMethod)
    method.prepare(Fabric(accelerator="cpu", devices=1))
    for part in to_unit(squares(0, count)).split(5):
        method.absorb(part)
    method.finish()
    return method


def to_unit(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)


@pytest.fixture(scope="module", params=NAMES)
def method(request) -> FrozenBackboneMethod:
    return fitted(request.param)


def test_findings_have_their_shapes_and_depend_on_no_other_image(method):
    x = to_unit(squares(1, 5, lesion=True))
    found = method.find(x)
    assert found.anomaly_map.shape == (5, 32, 32)
    assert found.anomaly_map.min() >= 0
    assert found.twin is None and found.mask is None
    assert set(found.scores) == set(method.facts.own_scores) == {method.facts.score}
    for i in range(5):
        alone = method.find(x[i : i + 1])
        torch.testing.assert_close(alone.anomaly_map[0], found.anomaly_map[i], rtol=1e-4, atol=1e-4)
        for name, scores in found.scores.items():
            torch.testing.assert_close(alone.scores[name][0], scores[i], rtol=1e-4, atol=1e-4)


def test_lesions_score_higher_and_are_where_the_map_says(method):
    healthy, sick = squares(2, 20), squares(3, 20, lesion=True)
    scores = [all_scores(method, part)[method.facts.score] for part in (healthy, sick)]
    assert roc_auc_score(np.repeat([0, 1], 20), np.concatenate(scores)) > 0.95
    maps = method.find(to_unit(sick)).anomaly_map.numpy()
    bright = sick[:, 0] > 150
    ratios = [m[b].mean() / m[~b].mean() for m, b in zip(maps, bright, strict=True)]
    assert np.quantile(ratios, 0.1) > 1.2


def test_pictures_have_a_scale_that_healthy_maps_do_not_reach(method):
    assert method.find(to_unit(squares(2, 10))).anomaly_map.max() < method.map_scale


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_a_tiny_set_have_a_scale_too(name):
    """PatchCore then holds every patch of its images, none of which is far from the memory."""
    method = fitted(name, *(["method.coreset=1000"] if name == "patchcore" else []), count=5)
    assert method.map_scale > method.find(to_unit(squares(0, 5))).anomaly_map.max()
    # Another batch size, and with it another last batch, leaves the scale as it is.
    other = small_config(name, *(["method.coreset=1000"] if name == "patchcore" else []))
    other = other.build_method()
    other.prepare(Fabric(accelerator="cpu", devices=1))
    for part in to_unit(squares(0, 5)).split(4):
        other.absorb(part)
    other.finish()
    assert other.map_scale == pytest.approx(method.map_scale, rel=1e-3)
    # Images that are all the same grey.
    method = small_config(name).build_method()
    method.prepare(Fabric(accelerator="cpu", devices=1))
    method.absorb(torch.zeros(5, 1, 32, 32))
    method.finish()
    assert method.map_scale > 0


def test_images_are_moved_and_their_edges_repeated():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    expected = torch.tensor([[0.0, 0, 1], [0, 0, 1], [3, 3, 4]])
    assert torch.equal(moved(image, 1)[0, 0], expected)


def test_half_precision_is_for_convolutions_alone(method):
    images = squares(4, 6, lesion=True)
    whole, half = (
        next(iter(detect(method, images, method.facts.score, half=half))) for half in (False, True)
    )
    assert half.scores.dtype == half.anomaly_map.dtype == np.float32
    np.testing.assert_allclose(half.scores, whole.scores, rtol=0.05)
    scale = whole.anomaly_map.max()
    np.testing.assert_allclose(half.anomaly_map, whole.anomaly_map, rtol=0, atol=0.05 * scale)


def features(method: FrozenBackboneMethod, x: Tensor, pooled: bool) -> list[np.ndarray]:
    """Stages at the strides of a method, averaged over 3 x 3 if ``pooled``, in float64."""
    backbone = method.backbone.double()
    try:
        found = backbone(x.double())
    finally:
        backbone.float()
    pool = nn.AvgPool2d(3, 1, 1) if pooled else nn.Identity()
    return [pool(f).numpy() for f in found]


def smoothed(distances: np.ndarray) -> np.ndarray:
    large = nn.functional.interpolate(
        torch.from_numpy(distances)[:, None], (64, 64), mode="bilinear", align_corners=False
    )
    return np.stack([gaussian_filter(m, 4, mode="mirror") for m in large[:, 0].numpy()])


def test_what_is_not_finite_is_never_written(tmp_path, monkeypatch):
    def close(self):
        self.gaussians.mean[0] = torch.nan

    monkeypatch.setattr(PaDiM, "_close", close)
    run = RunFolder.create(tmp_path / "run", small_config("padim"))
    with pytest.raises(InputError, match="no longer finite"):
        train(run.config(), squares(0, 6), squares(1, 6), run)
    assert not list_checkpoints(run.checkpoints)


def test_padim_is_its_equations_written_out():
    method = fitted("padim")
    chosen = method.networks["memory"].get_buffer("chosen").numpy()
    x = to_unit(squares(1, 3, lesion=True))

    def embed(images: Tensor) -> np.ndarray:
        one, two, three = features(method, images, pooled=False)
        two, three = (f.repeat(r, 2).repeat(r, 3) for f, r in ((two, 2), (three, 4)))
        return np.concatenate([one, two, three], 1)[:, chosen]

    healthy, tested = embed(to_unit(squares(0, 17))), embed(x)
    distances = np.empty((3, 16, 16))
    for i in range(16):
        for j in range(16):
            samples = healthy[:, :, i, j]
            inverse = np.linalg.inv(np.cov(samples, rowvar=False) + 10 * np.eye(20))
            delta = tested[:, :, i, j] - samples.mean(0)
            distances[:, i, j] = np.sqrt(np.sum(delta @ inverse * delta, 1))
    expected = smoothed(distances).max((1, 2))
    np.testing.assert_allclose(method.find(x).scores["max"].numpy(), expected, rtol=1e-3)


def test_patchcore_is_its_equations_written_out():
    """Algorithm 1 without projection, equations 6 and 7 over all pairs."""
    method = fitted("patchcore", "method.projection=10000", "method.neighbours=4")
    assert isinstance(method, PatchCore)
    x = to_unit(squares(1, 3, lesion=True))

    def embed(images: Tensor) -> np.ndarray:
        two, three = (torch.from_numpy(f) for f in features(method, images, pooled=True))
        three = nn.functional.interpolate(three, two.shape[-2:], mode="bilinear")
        return torch.cat([two, three], 1).permute(0, 2, 3, 1).flatten(1, 2).numpy()

    def gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return torch.cdist(torch.from_numpy(a), torch.from_numpy(b)).numpy()

    healthy = embed(to_unit(squares(0, 17))).reshape(-1, 152)
    first = method.bank.patches[:1].double().numpy()
    chosen = [int(gaps(first, healthy).argmin())]
    nearest = gaps(healthy, healthy[chosen])[:, 0]
    while len(chosen) < 60:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, gaps(healthy, healthy[chosen[-1:]])[:, 0])
    bank = healthy[chosen]
    np.testing.assert_allclose(method.bank.patches.numpy(), bank, rtol=1e-3, atol=1e-4)

    scores, distances = [], []
    for patches in embed(x):
        d = gaps(patches, bank)
        distances.append(d.min(1).reshape(8, 8))
        p = d.min(1).argmax()
        m = d[p].argmin()
        around = np.argsort(gaps(bank[m : m + 1], bank)[0])[:4]
        scores.append((1 - np.exp(d[p, m]) / np.exp(d[p, around]).sum()) * d[p, m])
    found = method.find(x)
    np.testing.assert_allclose(found.scores["reweighted-max"].numpy(), scores, rtol=1e-3)
    maps = torch.from_numpy(smoothed(np.stack(distances)))[:, None]
    maps = nn.functional.interpolate(maps, (32, 32), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(found.anomaly_map.double(), maps, rtol=1e-3, atol=1e-3)


def test_reweighting_stays_finite_and_is_off_with_one_neighbour():
    far = torch.tensor([800.0, 801.0])
    assert reweighting(far[0], far).item() == pytest.approx(1 - 1 / (1 + np.e))
    assert reweighting(far[0], far[:1]).item() == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_run_holds_all_it_needs_and_the_seed_decides(name, tmp_path):
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        config = small_config(name, f"train.seed={seed}")
        run = RunFolder.create(tmp_path / str(number), config)
        outcome = train(config, squares(0, 17), squares(1, 9), run)
        folder = find_checkpoint(run.checkpoints)
        weights.append({f.name: f.read_bytes() for f in sorted(folder.glob("*.safetensors"))})
    assert weights[0] == weights[1]
    assert weights[0]["memory.safetensors"] != weights[2]["memory.safetensors"]
    again = load_trained(run).method
    x = to_unit(squares(1, 2, lesion=True))
    assert torch.equal(again.find(x).anomaly_map, outcome.method.find(x).anomaly_map)
    assert again.map_scale == outcome.method.map_scale > 0


def test_patchcore_keeps_no_more_than_it_may():
    method = fitted("patchcore", "method.reservoir=40", "method.coreset=100")
    assert method.networks["memory"].patches.shape == (40, 152)


SHARE = ("method.reservoir=null", "method.coreset=null", "method.coreset_share=0.1")


def test_patchcore_of_the_paper_keeps_a_tenth_of_all_patches(recwarn):
    preset = load_config("patchcore-paper").method
    assert (preset.reservoir, preset.coreset, preset.coreset_share) == (None, None, 0.1)
    patches = 17 * 8 * 8
    whole, sampled = fitted("patchcore", *SHARE), fitted("patchcore", "method.coreset=109")
    assert len(whole.bank.patches) == round(0.1 * patches) == 109
    assert torch.equal(whole.bank.patches, sampled.bank.patches)  # whose sample is of all, too
    assert not [w for w in recwarn if "PatchCore" in str(w.message)]


@pytest.mark.parametrize(
    ("where", "numbers_each"),
    [("free_memory", 152 + 2 * 128 + 3 + 0.1 * 2 * 152), ("free_memory_of_gpu", 2 * 128 + 3)],
)
def test_patches_that_do_not_fit_are_sampled_with_a_warning(where, numbers_each, monkeypatch):
    free = 500 * 4 * numbers_each / 0.8 + 1
    monkeypatch.setattr(patchcore, where, lambda *_: free)
    words = "1,088 patches of 152 .* coreset of 109 was chosen from a sample of 500"
    with pytest.warns(UserWarning, match=words):
        method = fitted("patchcore", *SHARE)
    assert len(method.bank.patches) == 109


def test_patchcore_wants_one_size_of_memory():
    for settings in (["method.coreset_share=0.1"], ["method.coreset=null"]):
        with pytest.raises(InputError, match=r"either method\.coreset or method\.coreset_share"):
            small_config("patchcore", *settings)


def test_free_memory_is_some_and_no_more_than_there_is():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**20 < free_memory() <= total


@pytest.mark.parametrize("name", NAMES)
def test_without_weights_nothing_is_done_in_silence(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    absent = "method.backbone=resnet18.tv_in1k"
    method = small_config(name, absent).build_method()
    assert method.note is None
    wanted = r"fetch model.safetensors of timm/resnet18.tv_in1k on Hugging Face"
    with pytest.raises(InputError, match=wanted):
        method.require()
    with pytest.raises(InputError, match=wanted):
        method.prepare(Fabric(accelerator="cpu", devices=1))
    method = small_config(name, absent, "method.random_features=true").build_method()
    method.require()
    assert method.note == "random features"
    method = small_config(name).build_method()
    method.require()
    assert method.note is None


@pytest.mark.parametrize(
    ("name", "setting", "words"),
    [
        ("padim", "method.channels=1000", "has 176 at strides"),
        ("padim", "method.backbone=resnet", "timm has no network of this name"),
        (
            "patchcore",
            "method.random_features=true method.backbone_weights=w.pth",
            "either method.backbone_weights or",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(name, setting, words):
    with pytest.raises(InputError, match=words) as error:
        small_config(name, *setting.split()).build_method()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_vision_transformer_serves_too(name):
    method = fitted(name, "method.backbone=vit_tiny_patch16_224", "method.random_features=true")
    found = method.find(to_unit(squares(1, 2)))
    assert found.anomaly_map.shape == (2, 32, 32)
    assert found.anomaly_map.isfinite().all()


@pytest.mark.parametrize(("name", "channels"), [("padim", 550), ("patchcore", None)])
def test_papers_presets(name, channels):
    config = load_config(f"{name}-paper")
    assert config.method.backbone.startswith("wide_resnet50_2")
    assert getattr(config.method, "channels", None) == channels
    assert config.holdout == load_config(name).holdout
    assert config.selection == load_config(name).selection


def test_results_say_that_features_were_random(tmp_path, phantoms, a2bgan):
    run = tmp_path / "run"
    random = "method.random_features=true"
    settings = [part for s in (*SMALL, *OWN["padim"], random) for part in ("--set", s)]
    result = a2bgan("train", "--data", phantoms, "--preset", "padim", "--out", run, *settings)
    assert result.exit_code == 0, result.output
    result = a2bgan("evaluate", run)
    assert "random features" in result.output
    assert json.loads((run / "metrics.json").read_text())["note"] == "random features"
    assert a2bgan("report", run).exit_code == 0
    (page,) = run.glob("*.html")
    assert "All results here are with random features." in page.read_text("utf-8")
    memory = load_file(find_checkpoint(run / "checkpoints") / "memory.safetensors")
    assert memory["mean"].shape == (16 * 16, 20)
    shutil.rmtree(run)


INTERRUPTED = {
    "the pass": (FrozenBackboneMethod, "absorb"),
    "the choice of the coreset": (patchcore, "greedy_k_centre"),
    "the checkpoint": (loop, "save_checkpoint"),
}


@pytest.mark.parametrize("when", INTERRUPTED)
def test_an_interrupted_pass_leaves_what_is_whole_and_nothing_else(when, tmp_path, monkeypatch):
    config = small_config("patchcore")
    run = RunFolder.create(tmp_path / "run", config)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    holder, name = INTERRUPTED[when]
    original, ended = getattr(holder, name), []

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        result = original(*arguments)
        ended.append(name)
        return result

    monkeypatch.setattr(holder, name, interrupted)
    validated = []
    sets = squares(0, 12), squares(1, 9)
    if when != "the checkpoint":
        with pytest.raises(KeyboardInterrupt):
            train(config, *sets, run)
        assert ended == []
        assert list_checkpoints(run.checkpoints) == []
        assert list(run.metrics()) == []
    else:
        outcome = train(config, *sets, run, validate=lambda *of: validated.append(of) or False)
        assert outcome.interrupted
        assert validated == []
        assert len(list_checkpoints(run.checkpoints)) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    monkeypatch.undo()
    assert not train(config, *sets, run, resume=True).interrupted
    assert len(list_checkpoints(run.checkpoints)) == 1
