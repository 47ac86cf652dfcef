import pytest
import timm
import torch

from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone, _triangles, on_the_first_grid

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


@pytest.mark.parametrize("shape", [(200, 128), (64, 64), (48, 96)])
def test_images_are_exported_as_they_are_resized(shape):
    x = torch.rand(2, 1, *shape)
    rows, columns = (_triangles(length, 64) for length in shape)
    resized = torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(rows @ x @ columns.T, resized)


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


@pytest.mark.parametrize(
    ("name", "strides", "words"),
    [
        ("no_such_model", (4, 8), "timm has no network of this name; tf_efficientnet_lite0"),
        ("hf-hub:timm/resnet18.tv_in1k", (4, 8), "timm has no network of this name"),
        ("resnet18.no_such_weights", (4, 8), "Invalid pretrained tag"),
        ("resnet18", (4, 7), r"no features at strides 4, 7 of 64 x 64 pixels .*lite0 does"),
        ("vit_tiny_patch16_224", (4,) * 13, "it has 12 blocks"),
        ("vit_small_patch14_dinov2", (8,), r"64 pixels are no multiple.*method.input_size=70"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(name, strides, words):
    with pytest.raises(InputError, match=f"method.backbone={name}: .*{words}") as error:
        Backbone(name, strides, 64)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("tf_efficientnet_lite0", [(24, 16, 16), (40, 8, 8), (112, 4, 4)]),
        ("convnext_atto", [(40, 16, 16), (80, 8, 8), (160, 4, 4)]),
        ("swin_tiny_patch4_window7_224", [(96, 16, 16), (192, 8, 8), (384, 4, 4)]),
    ],
)
def test_shapes_are_known_before_an_image_is(name, shapes):
    backbone = Backbone(name, (4, 8, 16), 64)
    assert backbone.shapes == tuple(shapes)
    assert backbone.channels == tuple(c for c, _, _ in shapes)
    assert backbone.strides == (4, 8, 16)
    assert [tuple(f.shape[1:]) for f in backbone(torch.zeros(1, 1, 64, 64))] == shapes


def test_blocks_of_a_vision_transformer_stand_for_strides():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224").eval()
    backbone = Backbone("vit_tiny_patch16_224", (4, 8, 16), 64)
    assert backbone.strides == (16, 16, 16)
    assert backbone.shapes == ((192, 4, 4),) * 3
    backbone.load(model.state_dict())  # its positions are resized, from 224 pixels
    backbone = Backbone("vit_tiny_patch16_224", (8, 16), 224)
    backbone.load(model.state_dict())
    x = torch.rand(1, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        tokens = model.pos_drop(model._pos_embed(model.patch_embed(x)))  # mean and sd are 0.5
        for number, block in enumerate(model.blocks):
            tokens = block(tokens)
            if number == 5:
                half = model.norm(tokens)
        found = backbone(x)
    for features, expected in zip(found, (half, model.norm(tokens)), strict=True):
        maps = expected[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
        torch.testing.assert_close(features, maps, rtol=1e-4, atol=1e-4)


def test_stages_are_joined_on_the_first_grid():
    fine, coarse = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)
    joined = on_the_first_grid([fine, coarse], "nearest")
    assert torch.equal(joined[:, :2], fine)
    assert torch.equal(joined[:, 2:], coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))
