"""EfficientNet-Lite0 beside timm's."""

import pytest
import timm
import torch

from a2bgan.models.backbone import Backbone
from a2bgan.models.efficientnet_lite import (
    MEAN,
    NAMES,
    REPOSITORY,
    STAGES,
    STD,
    EfficientNetLite0,
)

EVERY = tuple(range(len(STAGES)))


def pair(indices: tuple[int, ...]) -> tuple[EfficientNetLite0, torch.nn.Module]:
    torch.manual_seed(7)
    ours = EfficientNetLite0(indices).eval()
    after = torch.rand(3)
    torch.manual_seed(7)
    theirs = timm.create_model(NAMES[0], features_only=True, out_indices=indices).eval()
    assert torch.equal(after, torch.rand(3))  # as many random numbers were drawn
    return ours, theirs


def test_the_first_weights_are_those_of_timm():
    ours, theirs = (network.state_dict() for network in pair(EVERY))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("shape", "indices"), [((64, 64), EVERY), ((75, 50), (1, 3))])
def test_features_are_those_of_timm_bit_for_bit(shape, indices):
    ours, theirs = pair(indices)
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # not only noughts and ones
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    ours.load_state_dict(theirs.state_dict())
    both = [network.to(memory_format=torch.channels_last) for network in (ours, theirs)]
    x = torch.randn(2, 3, *shape).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found, expected = (network(x) for network in both)
    assert len(found) == len(indices)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_what_is_known_of_it_is_what_timm_knows():
    known = timm.get_pretrained_cfg(NAMES[0])
    assert (known.hf_hub_id, known.mean, known.std) == (REPOSITORY, MEAN, STD)
    assert not known.fixed_input_size
    info = timm.create_model(NAMES[0], features_only=True).feature_info
    assert info.reduction() == [stride for _, stride, _ in STAGES]
    assert info.channels() == [channels for *_, channels in STAGES]
    shapes = {k: t.shape for k, t in timm.create_model(NAMES[0]).state_dict().items()}
    ours = EfficientNetLite0(()).classifier_shapes()
    assert list(ours.items()) == list(shapes.items())


def test_shapes_are_known_at_uneven_sizes():
    backbone = Backbone(NAMES[0], (8, 16, 32), 75)
    found = backbone(torch.zeros(1, 1, 75, 75))
    assert tuple(tuple(f.shape[1:]) for f in found) == backbone.shapes


def test_weights_of_a_classifier_must_all_be_there():
    network = EfficientNetLite0((1,))
    weights = dict(timm.create_model(NAMES[0]).state_dict())
    network.load_classifier(weights)
    assert torch.equal(network.conv_stem.weight, weights["conv_stem.weight"])
    for change in ({"more": torch.zeros(1)}, {"classifier.bias": torch.zeros(2)}):
        with pytest.raises(RuntimeError, match=r"^(more|classifier\.bias): "):
            network.load_classifier(weights | change)
    del weights["bn2.weight"]
    with pytest.raises(RuntimeError, match=r"bn2.weight"):
        network.load_classifier(weights)
