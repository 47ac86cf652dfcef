"""ALAD: a GAN with an encoder and cycles, scored in the features that judge its reconstructions.

H. Zenati, M. Romain, C.-S. Foo, B. Lecouat, V. R. Chandrasekhar, "Adversarially Learned Anomaly
Detection", ICDM 2018. The paper's: the three discriminators D_xz, D_xx and D_zz, spectral
normalisation of them and of the encoder, the objective, one step of the discriminators for one of
G and E, and the score, the L1 distance of D_xx's features of (x, x) and (x, G(E(x))). Layers,
dropout, initialisation, Adam and the averaged weights that score follow its released code for
images.

What differs:

- D_xx sees its two images as channels of one. The released code puts them one below the other,
  where a convolution meets both only at the seam, and what is not compared cannot be told apart.
- Scoring uses averages over at most a tenth of the steps so far, which counts in short trainings.
- Batch norm's running statistics follow PyTorch's momentum (0.1) rather than TensorFlow's (0.01).
- Both steps use the same batch; the released code draws two. Noise is drawn anew for each.
- Singular vectors are PyTorch's estimates, through which no gradients flow.
- Images above 32 pixels a side get more layers, up to 8 times the width of the first.
- No early stopping on a validation set: the project's selection does that. Batches and
  augmentation are the project's.
"""

import copy
from typing import ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.models.pair_discriminators import (
    ImagePairDiscriminator,
    JointDiscriminator,
    LatentPairDiscriminator,
    alad_encoder,
    alad_generator,
)
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    StepMethod,
)


class ALADConfig(MethodConfig):
    """Section ``method`` for ALAD."""

    name: Literal["alad"]
    width: int = Field(
        ge=4, le=bounds.CHANNELS, description="channels of the encoder's first convolution"
    )
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in z")
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights; 0 keeps none")


SCORING = ("generator", "encoder", "discriminator_xx")


class ALAD(StepMethod):
    """Generator G, encoder E and discriminators of (x, z), (x, x') and (z, z').

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a power of two from 32 up; InputError otherwise.
    """

    Config: ClassVar[type[MethodConfig]] = ALADConfig
    facts: ClassVar[Facts] = Facts(
        title="ALAD",
        paper="Zenati et al., ICDM 2018",
        score="features",
        own_scores=("features",),
    )

    def __init__(self, config: ALADConfig, channels: int, size: int) -> None:
        self.config = config
        width, latent = config.width, config.latent
        self.networks = {
            "generator": alad_generator(channels, width, size, latent),
            "encoder": alad_encoder(channels, width, size, latent),
            "discriminator_xz": JointDiscriminator(channels, width, size, latent),
            "discriminator_xx": ImagePairDiscriminator(channels, width, size),
            "discriminator_zz": LatentPairDiscriminator(latent, width),
        }
        self.called: dict[str, nn.Module] = dict(self.networks)
        if config.ema > 0:
            for name in SCORING:
                self.networks[f"{name}_ema"] = copy.deepcopy(self.networks[name])
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = dict.fromkeys(self.called, self.config.learning_rate)
        self.called = self._set_up(fabric, rates, self.config.adam_betas)

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step of the three discriminators, then one of G and E, on B alone."""
        report = self._discriminator_step(healthy, moment)
        report |= self._generator_step(healthy, moment)
        for name in SCORING if self.config.ema > 0 else ():
            ema, raw = self.networks[f"{name}_ema"], self.networks[name]
            average_weights(ema, raw, self.config.ema, moment.step)
        return report

    def _discriminator_step(self, x: Tensor, moment: Moment) -> dict[str, Tensor]:
        """Each discriminator learns its true pairs as real, its others as fake."""
        g, e, d_xz, d_xx, d_zz = self.called.values()
        noise = moment.generator
        z = moment.normal(x, len(x), self.config.latent)
        with torch.no_grad():
            fake, code = g(z), e(x)
            twin, recoded = g(code), e(fake)
        judged = {
            "discriminator_xz": (d_xz(x, code, noise), d_xz(fake, z, noise)),
            "discriminator_xx": (d_xx(x, x, noise)[0], d_xx(x, twin, noise)[0]),
            "discriminator_zz": (d_zz(z, z, noise), d_zz(z, recoded, noise)),
        }
        report = {}
        for name, (real, other) in judged.items():
            loss = losses.discriminator_adversarial("logistic", real, other)
            self._descend(name, loss)
            report[name.replace("discriminator", "d")] = loss.detach()
        return report

    def _generator_step(self, x: Tensor, moment: Moment) -> dict[str, Tensor]:
        """G and E turn the pairs around.

        True pairs (x, x) and (z, z) depend on neither, so their terms are left out.
        """
        g, e, d_xz, d_xx, d_zz = self.called.values()
        noise = moment.generator
        with frozen(d_xz, d_xx, d_zz):
            z = moment.normal(x, len(x), self.config.latent)
            fake, code = g(z), e(x)
            terms = {
                "g_xz": F.softplus(-d_xz(fake, z, noise)).mean(),
                "e_xz": F.softplus(d_xz(x, code, noise)).mean(),
                "cycle_xx": F.softplus(-d_xx(x, g(code), noise)[0]).mean(),
                "cycle_zz": F.softplus(-d_zz(z, e(fake), noise)).mean(),
            }
            # g_xz reaches G alone and e_xz E alone: one backward pass serves both optimisers.
            self._descend("generator", torch.stack([*terms.values()]).sum(), "encoder")
        return {name: term.detach() for name, term in terms.items()}

    @property
    def versions(self) -> tuple[str, ...]:
        return ("ema", "raw") if self.config.ema > 0 else ("raw",)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        suffix = "_ema" if (version or self.versions[0]) == "ema" else ""
        g, e, d_xx = (self.networks[name + suffix] for name in SCORING)
        x = x.contiguous(memory_format=torch.channels_last)
        with inference(g, e, d_xx):
            twin = g(e(x))
            features, twin_features = d_xx(x, x)[1], d_xx(x, twin)[1]
        scores = {"features": (features - twin_features).abs().sum(dim=1)}
        return Finding(difference_map(x, twin), twin, scores=scores)
