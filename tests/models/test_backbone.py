import pytest
import timm
import torch
from safetensors.torch import save_file

from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone, on_the_first_grid
from a2bgan.models.pretrained import load_pretrained

NAME = "resnet18.tv_in1k"


@pytest.fixture(scope="module")
def classifier():
    """A whole ResNet-18 whose weights nobody would draw again."""
    torch.manual_seed(5)
    return timm.create_model(NAME).eval()


def test_stages_of_a_resnet_by_stride():
    found = Backbone("resnet18", (4, 8, 16), 64)(torch.zeros(2, 1, 64, 64))
    assert [tuple(f.shape) for f in found] == [(2, 64, 16, 16), (2, 128, 8, 8), (2, 256, 4, 4)]


def test_images_are_repeated_resized_and_normalised(classifier):
    backbone = Backbone(NAME, (8,), 64)
    backbone.load(classifier.state_dict())
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    grey = torch.nn.functional.interpolate((x + 1) / 2, (64, 64), mode="bilinear")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = (grey.repeat(1, 3, 1, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    model = classifier
    with torch.no_grad():
        stem = model.maxpool(model.act1(model.bn1(model.conv1(seen))))
        expected = model.layer2(model.layer1(stem))
        (found,) = backbone(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_it_never_follows_batches():
    backbone = Backbone("resnet18", (8,), 32)
    backbone.train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(torch.rand(4, 3, 32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert not any(p.requires_grad for p in backbone.parameters())


def test_untrained_residual_branches_do_something():
    backbone = Backbone("resnet18", (4,), 32)
    x = torch.rand(1, 3, 32, 32)
    before = backbone(x)[0]
    backbone.features.layer1[1].conv2.weight.zero_()
    assert not torch.equal(backbone(x)[0], before)


@pytest.mark.parametrize("name", ["no_such_model", "vit_small_patch16_224"])
def test_models_without_such_features_are_named(name):
    with pytest.raises(InputError, match=rf"method.backbone={name}: .*strides 4, 8"):
        Backbone(name, (4, 8), 64)


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

    monkeypatch.setattr("a2bgan.models.pretrained.try_to_load_from_cache", look)
    backbone = Backbone(NAME, (4,), 32)
    load_pretrained(backbone, None)
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]
    assert torch.equal(backbone.features.conv1.weight, classifier.conv1.weight)


def test_no_weights_say_what_to_fetch(monkeypatch):
    monkeypatch.setattr("a2bgan.models.pretrained.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(InputError) as error:
        load_pretrained(Backbone(NAME, (4,), 32), None)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "timm/resnet18.tv_in1k", "--set method.backbone_weights=PATH", "random_features=true",
        "`a2bgan benchmark` --backbone-weights PATH or --random-features",
    ):  # fmt: skip
        assert part in line


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


def test_stages_are_joined_on_the_first_grid():
    fine, coarse = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)
    joined = on_the_first_grid([fine, coarse], "nearest")
    assert torch.equal(joined[:, :2], fine)
    assert torch.equal(joined[:, 2:], coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))
