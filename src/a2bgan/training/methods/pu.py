"""A classifier of healthy against mixed images: how far an image score gets without a map.

Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator", NeurIPS 2017 (nnPU).
Healthy images are the positives, the mixed set is the unlabelled one.

As there: the non-negative risk with the sigmoid loss and its algorithm 1 with beta = 0 and
gamma = 1; Adam with weight decay; the class prior is known (``healthy_share``). Preset `pu-paper`
has rate, weight decay, batch and length of its CIFAR-10 experiment. Different: without a
``healthy_share``, the default, the classifier learns B against A by the logistic loss, which ranks
images as well if there are enough of them and needs no prior; the network is A2B-GAN's
discriminator, the mean over its patches, for a 13-layer CNN with batch norm; a step sees as many
positives as unlabelled images, where the paper's batches are drawn from both sets together.
"""

from typing import Any, ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from a2bgan.models.discriminator import Discriminator, Initialisation, discriminator_depth
from a2bgan.models.inference import inference
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    StepMethod,
)


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


class PUConfig(MethodConfig):
    """Section ``method`` for the PU classifier."""

    name: Literal["pu"]
    width: int = Field(ge=2)
    depth: int | None = Field(ge=1, description="null follows the image size")
    initialisation: Initialisation
    healthy_share: float | None = Field(
        gt=0, lt=1, description="of the mixed set, for the nnPU risk; null: logistic, no prior"
    )
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0, description="Adam's, added to the gradient")
    adam_betas: AdamBetas


class PUClassifier(StepMethod):
    """A network with one output an image, high for healthy.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.
    """

    Config: ClassVar[type[MethodConfig]] = PUConfig
    facts: ClassVar[Facts] = Facts(
        title="PU classifier",
        paper="Kiryo et al., NeurIPS 2017",
        score="unhealthy",
        own_scores=("unhealthy",),
        uses_mixed=True,
        makes_map=False,
        makes_twin=False,
    )

    def __init__(self, config: PUConfig, channels: int, size: int) -> None:
        self.config = config
        depth = discriminator_depth(size, config.depth)
        network = Discriminator(channels, config.width, depth, config.initialisation)
        self.networks: dict[str, nn.Module] = {
            "classifier": network.to(memory_format=torch.channels_last)
        }
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = {"classifier": self.config.learning_rate}
        wrapped = self._set_up(fabric, rates, self.config.adam_betas, self.config.weight_decay)
        self.classifier: Any = wrapped["classifier"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B against A."""
        out = self.classifier(torch.cat([healthy, mixed])).mean(dim=(1, 2, 3))
        positive, unlabelled = out[: len(healthy)], out[len(healthy) :]
        if self.config.healthy_share is None:
            risk = losses.discriminator_adversarial("logistic", positive, unlabelled)
            objective = risk
        else:
            risk, objective = non_negative_risk(positive, unlabelled, self.config.healthy_share)
        self._descend("classifier", objective)
        return {"risk": risk.detach(), "gap": (positive.mean() - unlabelled.mean()).detach()}

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        classifier = self.networks["classifier"]
        with inference(classifier):
            out = classifier(x.contiguous(memory_format=torch.channels_last))
        return Finding(scores={"unhealthy": -out.mean(dim=(1, 2, 3))})
