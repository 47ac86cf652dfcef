"""ALAD: a GAN with an encoder and cycles, scored in the features of one of its discriminators.

H. Zenati, M. Romain, C.-S. Foo, B. Lecouat, V. R. Chandrasekhar, "Adversarially Learned Anomaly
Detection", ICDM 2018. The paper's: the three discriminators D_xz, D_xx and D_zz, spectral
normalisation of them and of the encoder, the objective, one step of the discriminators for one of
G and E, and the score, the L1 distance of D_xx's features of (x, x) and (x, G(E(x))). Layers,
dropout, initialisation, Adam and the averaged weights that score follow its released code for
images.

What differs:

- D_xx sees its two images as channels of one. The released code puts them one below the other,
  where a convolution meets both only at the seam, and cannot compare the rest.
- Scoring uses averages over at most a tenth of the steps so far, which counts in short trainings.
- Batch norm's running statistics follow PyTorch's momentum (0.1) rather than TensorFlow's (0.01).
- Both steps use the same batch; the released code draws two. Noise is drawn anew for each.
- Singular vectors are PyTorch's estimates, through which no gradients flow.
- Images above 32 pixels a side get more layers, up to 8 times the width of the first.
- No early stopping on a validation set: the project's selection does that. Batches and
  augmentation are the project's.
"""

import copy
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.dcgan import Decoder, Encoder, initialise_normal, stage_widths, strided_features
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod, detached, frozen
from a2bgan.training.methods.sections import AdamBetas, MethodConfig


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


DROPOUT = 0.2
START = 0.01
"""Standard deviation of the weights before training."""


def alad_generator(channels: int, width: int, size: int, latent: int) -> Decoder:
    """G: (N, latent) to images, the transposed convolutions of DCGAN."""
    generator = Decoder(channels, width, size, latent, bias=True)
    initialise_normal(generator, START)
    return generator


def alad_encoder(channels: int, width: int, size: int, latent: int) -> Encoder:
    """E: images to (N, latent), spectrally normalised up to its head."""
    encoder = Encoder(channels, width, size, latent, first_norm=True, bias=True)
    initialise_normal(encoder, START)
    normalise_spectrally(encoder.features)
    return encoder


def normalise_spectrally(*networks: nn.Module) -> None:
    """Divide each convolution's and linear layer's weight by its largest singular value."""
    for network in networks:
        for module in [*network.modules()]:
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)


class JointDiscriminator(nn.Module):
    """D_xz: tells (x, E(x)), high, from (G(z), z)."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        self.image = strided_features(channels, width, size, bias=True)
        self.latent = nn.ModuleList([nn.Linear(latent, 4 * width), nn.Linear(4 * width, 4 * width)])
        features = 16 * stage_widths(width, size)[-1]
        self.both = nn.Linear(features + 4 * width, 8 * width)
        self.head = nn.Linear(8 * width, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.image, self.latent, self.both)

    def forward(self, x: Tensor, z: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """(N, C, S, S), (N, latent) to logits (N,); ``noise`` drives dropout, None is without."""
        for layer in self.latent:
            z = _dropout(F.leaky_relu(layer(z), 0.2), noise)
        both = self.both(torch.cat([self.image(x).flatten(1), z], dim=1))
        return self.head(_dropout(F.leaky_relu(both, 0.2), noise)).flatten()  # type: ignore[no-any-return]


class ImagePairDiscriminator(nn.Module):
    """D_xx: tells (x, x), high, from (x, G(E(x))); its features are what ALAD scores with."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(2 * channels, width // 2, 5, 2, 2), nn.Conv2d(width // 2, width, 5, 2, 2)]
        )
        self.head = nn.Linear(width * (size // 4) ** 2, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.convolutions)

    def forward(
        self, x: Tensor, other: Tensor, noise: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Two (N, C, S, S) to logits (N,) and the features (N, F) under them."""
        features = torch.cat([x, other], dim=1)
        for layer in self.convolutions:
            features = _dropout(F.leaky_relu(layer(features), 0.2), noise)
        features = features.flatten(1)
        return self.head(features).flatten(), features


class LatentPairDiscriminator(nn.Module):
    """D_zz: tells (z, z), high, from (z, E(G(z)))."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(2 * latent, width // 2), nn.Linear(width // 2, width // 4)]
        )
        self.head = nn.Linear(width // 4, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.layers)

    def forward(self, z: Tensor, other: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Two (N, latent) to logits (N,)."""
        y = torch.cat([z, other], dim=1)
        for layer in self.layers:
            y = _dropout(F.leaky_relu(layer(y), 0.2), noise)
        return self.head(y).flatten()  # type: ignore[no-any-return]


def _dropout(x: Tensor, noise: torch.Generator | None) -> Tensor:
    """Dropout from a given source, so that a resumed training drops what it would have dropped."""
    if noise is None:
        return x
    kept = torch.rand(x.shape, generator=noise, device=x.device) >= DROPOUT
    return x * kept / (1 - DROPOUT)


class ALAD(StepMethod):
    """Generator G, encoder E and discriminators of (x, z), (x, x') and (z, z').

    Images must have a side that is a power of two, 32 or more.
    """

    Config = ALADConfig
    facts = Facts("ALAD", "Zenati et al., ICDM 2018", score="features", own_scores=("features",))

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        width, latent = self.config.width, self.config.latent
        networks: dict[str, nn.Module] = {
            "generator": alad_generator(channels, width, size, latent),
            "encoder": alad_encoder(channels, width, size, latent),
            "discriminator_xz": JointDiscriminator(channels, width, size, latent),
            "discriminator_xx": ImagePairDiscriminator(channels, width, size),
            "discriminator_zz": LatentPairDiscriminator(latent, width),
        }
        if self.config.ema > 0:
            for name in SCORING:
                networks[f"{name}_ema"] = copy.deepcopy(networks[name]).requires_grad_(False)
        return networks

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
        g, e, d_xz, d_xx, d_zz = self._in_training()
        noise = moment.generator
        z = moment.normal(x, len(x), self.config.latent)
        with torch.no_grad():
            fake, code = g(z), e(x)
            twin, recoded = g(code), e(fake)
        outputs = {
            "xz": (d_xz(x, code, noise), d_xz(fake, z, noise)),
            "xx": (d_xx(x, x, noise)[0], d_xx(x, twin, noise)[0]),
            "zz": (d_zz(z, z, noise), d_zz(z, recoded, noise)),
        }
        report = {}
        for pair, (real, other) in outputs.items():
            report[pair] = losses.discriminator_adversarial("logistic", real, other)
            self._descend(report[pair], f"discriminator_{pair}")
        return detached(report, "d_")

    def _generator_step(self, x: Tensor, moment: Moment) -> dict[str, Tensor]:
        """G and E turn the pairs around.

        True pairs (x, x) and (z, z) depend on neither, so their terms are left out.
        """
        g, e, d_xz, d_xx, d_zz = self._in_training()
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
            self._descend(torch.stack([*terms.values()]).sum(), "generator", "encoder")
        return detached(terms)

    def _in_training(self) -> list[Any]:
        """The networks that learn: G, E, D_xz, D_xx and D_zz."""
        return [self.wrapped[name] for name in self.wrapped if not name.endswith("_ema")]

    @property
    def versions(self) -> tuple[str, ...]:
        return ("ema", "raw") if self.config.ema > 0 else ("raw",)

    def _find(self, x: Tensor, version: str) -> Finding:
        suffix = "_ema" if version == "ema" else ""
        g, e, d_xx = (self.networks[name + suffix] for name in SCORING)
        twin = g(e(x))
        features, twin_features = d_xx(x, x)[1], d_xx(x, twin)[1]
        scores = {"features": (features - twin_features).abs().sum(dim=1)}
        return Finding(difference_map(x, twin), twin, scores=scores)
