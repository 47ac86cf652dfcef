"""A classifier of healthy against mixed images: how far an image score gets without a map.

Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator", NeurIPS 2017 (nnPU).
Healthy images are the positives, the mixed set is the unlabelled one.

As there: the non-negative risk with the sigmoid loss and its algorithm 1 with beta = 0 and
gamma = 1; Adam with weight decay; the class prior is known (``healthy_share``). Preset `pu-paper`
has rate, weight decay, batch and length of its CIFAR-10 experiment. Different: without a
``healthy_share``, the default, the classifier learns B against A by the logistic loss, which ranks
images as well if there are enough of them and needs no prior; a step sees as many positives as
unlabelled images, where the paper's batches are drawn from both sets together; and for a 13-layer
CNN with batch norm there is, by default, a small head on the pooled features of a frozen network
(``backbone``), in preset `pu-paper` A2B-GAN's discriminator, the mean over its patches.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.backbone import Backbone
from a2bgan.models.discriminator import Discriminator, Initialisation, discriminator_depth
from a2bgan.models.evidence import STRIDES
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training import losses
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod
from a2bgan.training.methods.sections import AdamBetas, BackboneConfig


def non_negative_risk(positive: Tensor, unlabelled: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """Equation 6 of Kiryo et al. and what their algorithm 1 descends, with the sigmoid loss.

    With l(z) = sigmoid(-z), R_p = mean l(g(positive)), R_n = mean l(-g(unlabelled)) - prior mean
    l(-g(positive)): the risk is prior R_p + max(0, R_n). Where R_n is negative, which the truth is
    not, its ascent takes the place of the descent of the risk.

    Args:
        positive, unlabelled: outputs g of the classifier, (N,), high for positive.
        prior: share of positives among the unlabelled, in (0, 1).

    Returns:
        The risk, and the objective whose gradient is to be descended.
    """
    positive_part = prior * torch.sigmoid(-positive).mean()
    negative_part = torch.sigmoid(unlabelled).mean() - prior * torch.sigmoid(positive).mean()
    risk = positive_part + negative_part.clamp_min(0)
    objective = torch.where(negative_part < 0, -negative_part, positive_part + negative_part)
    return risk, objective


class PUConfig(BackboneConfig):
    """Section ``method`` for the PU classifier."""

    name: Literal["pu"]
    backbone: str | None = Field(  # type: ignore[assignment]
        None, description="a timm network whose frozen features are classified; null: pixels are"
    )
    width: int = Field(ge=2, le=bounds.CHANNELS, description="of the first layer")
    depth: int | None = Field(
        ge=1, le=bounds.LAYERS, description="of pixels' network; null follows the image size"
    )
    initialisation: Initialisation
    healthy_share: float | None = Field(
        gt=0, lt=1, description="of the mixed set, for the nnPU risk; null: logistic, no prior"
    )
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    weight_decay: float = Field(ge=0, le=bounds.RATE, description="Adam's, added to the gradient")
    adam_betas: AdamBetas


class PooledFeatures(nn.Module):
    """A classifier of a backbone's maps, of their means and maxima over the image."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(2 * channels, affine=False),  # stages differ much in scale
            nn.Linear(2 * channels, width),
            nn.LeakyReLU(0.01),
            nn.Linear(width, 1),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """`pooled` features (N, 2 channels) to (N,), high for healthy."""
        out: Tensor = self.body(pooled)
        return out[:, 0]


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """Means and maxima over the image of maps (N, channels, h, w): (N, 2 x all channels)."""
    return torch.cat([*(m.mean((2, 3)) for m in maps), *(m.amax((2, 3)) for m in maps)], 1)


class PUClassifier(StepMethod):
    """One output an image, high for healthy."""

    Config = PUConfig
    facts = Facts(
        "PU classifier",
        "Kiryo et al., NeurIPS 2017",
        score="unhealthy",
        own_scores=("unhealthy",),
        uses_mixed=True,
        makes_map=False,
        makes_twin=False,
        pretrained=True,
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c = self.config
        self.backbone: Backbone | None = None
        if c.backbone is None:
            depth = discriminator_depth(size, c.depth)
            return {"classifier": Discriminator(channels, c.width, depth, c.initialisation)}
        self.backbone = Backbone(c.backbone, STRIDES, c.input_size or size)
        head = PooledFeatures(sum(self.backbone.channels), c.width)
        return {"classifier": head, "backbone": self.backbone}

    def require(self) -> None:
        if self.backbone is not None:
            load_pretrained(self.backbone, self.config.backbone_weights)

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B against A."""
        images = torch.cat([healthy, mixed])
        if self.backbone is not None:
            with torch.no_grad(), self.fabric.autocast():
                images = pooled(self.backbone(images))
        out = _mean(self.wrapped["classifier"](images))
        positive, unlabelled = out[: len(healthy)], out[len(healthy) :]
        if self.config.healthy_share is None:
            risk = losses.discriminator_adversarial("logistic", positive, unlabelled)
            objective = risk
        else:
            risk, objective = non_negative_risk(positive, unlabelled, self.config.healthy_share)
        self._descend(objective, "classifier")
        return {"risk": risk.detach(), "gap": (positive.mean() - unlabelled.mean()).detach()}

    def _find(self, x: Tensor, version: str) -> Finding:
        seen = x if self.backbone is None else pooled(self.backbone(x))
        return Finding(scores={"unhealthy": -_mean(self.networks["classifier"](seen))})


def _mean(out: Tensor) -> Tensor:
    """One output an image (N,), of one or of patches (N, 1, h, w)."""
    return out.flatten(1).mean(1) if out.ndim > 1 else out
