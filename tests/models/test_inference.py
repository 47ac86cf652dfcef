import torch
from torch import nn

from a2bgan.models.inference import inference


def test_inference_leaves_no_trace():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    at_rest = nn.Dropout(0.5).eval()
    x = torch.rand(2, 1, 4, 4)
    with inference(network, at_rest):
        found = at_rest(network(x))
    assert not found.requires_grad
    torch.testing.assert_close(found, x / (1 + 1e-5) ** 0.5)
    assert network.training and network[0].training and not at_rest.training
    assert network[0].num_batches_tracked == 0
    assert network(x).requires_grad
