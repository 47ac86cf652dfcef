"""Fixed-Point GAN: StarGAN that also learns to leave alone what is in the wanted domain.

M. M. Rahman Siddiquee, Z. Zhou, N. Tajbakhsh, R. Feng, M. B. Gotway, Y. Bengio, J. Liang, "Learning
Fixed Points in Generative Adversarial Networks: From Image-to-Image Translation to Disease
Detection and Localization", ICCV 2019. On top of `a2bgan.training.methods.stargan`, as in the paper
and its released code: x' = tanh(x + G(x, c)); every image is also translated to its own domain,
where the same three losses hold and an identity loss on top.

What differs is what differs from StarGAN. Preset `fixedpointgan` differs from the paper as
`stargan` does.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from a2bgan.data import bounds
from a2bgan.training.methods.method import Facts
from a2bgan.training.methods.stargan import StarGAN, StarGANConfig, StarGANLossConfig


class FixedPointGANLossConfig(StarGANLossConfig):
    """Section ``method.loss``: weights beside the adversarial loss."""

    identity: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_id")


class FixedPointGANConfig(StarGANConfig):
    """Section ``method`` for Fixed-Point GAN."""

    name: Literal["fixedpointgan"]  # type: ignore[assignment]
    loss: FixedPointGANLossConfig


class FixedPointGAN(StarGAN):
    """StarGAN's networks, with an additive translator."""

    Config = FixedPointGANConfig
    intermediate = "additive"
    facts = Facts(
        "Fixed-Point GAN",
        "Rahman Siddiquee et al., ICCV 2019",
        uses_mixed=True,
        tasks=("translation",),
    )

    def _objective(
        self, x: Tensor, own: Tensor, wanted: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        across = self._terms(x, own, wanted, fake)
        kept = self.wrapped["translator"](x, own)
        same = self._terms(x, own, own, kept)
        identity = (x - kept).abs().mean()
        total = self._weighted(across) + self._weighted(same)
        total = total + self.config.loss.identity * identity
        named = {f"same_{name}": term for name, term in same.items()}
        return across | named | {"identity": identity}, total
