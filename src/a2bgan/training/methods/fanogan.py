"""f-AnoGAN: a GAN learns healthy images, then an encoder learns to find them in it.

T. Schlegl, P. Seeböck, S. M. Waldstein, G. Langs, U. Schmidt-Erfurth, "f-AnoGAN: Fast unsupervised
anomaly detection with generative adversarial networks", Medical Image Analysis 54, 2019. The
paper's: a WGAN-GP with five critic steps for each of the generator, then an encoder trained against
the frozen G and D by its izi_f loss, and the score A(x). Networks are those of its released code,
the residual WGAN-GP of Gulrajani et al. 2017, with the encoder shaped like the critic and tanh at
its end; so are the optimisers, Adam for the GAN and RMSprop for the encoder.

What differs:

- How training is divided between GAN and encoder is a share, ``gan.share``, not two numbers of
  iterations; a step of the GAN is one of the critic's.
- Batch norm's running statistics follow PyTorch's momentum (0.1) rather than TensorFlow's (0.01),
  RMSprop starts from zero averages, as PyTorch's does.
- Images above 64 pixels a side get more blocks of the widest kind, 8 times the first; the paper
  cuts volumes into patches of 64 x 64, here an image is one input.
- Batches and augmentation are the project's.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.dcgan import WIDEST, stage_widths
from a2bgan.training import losses
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod, detached, frozen
from a2bgan.training.methods.sections import AdamBetas, MethodConfig, Section


class GANConfig(Section):
    """Section ``method.gan``: the first phase."""

    share: float = Field(gt=0, lt=1, description="of training; the rest is the encoder's")
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas
    critic_steps: int = Field(
        ge=1, le=bounds.STEPS, description="critic steps for each generator step"
    )
    gradient_penalty: float = Field(ge=0, le=bounds.WEIGHT)


class EncoderConfig(Section):
    """Section ``method.encoder``: the second phase."""

    learning_rate: float = Field(gt=0, le=bounds.RATE)
    kappa: float = Field(
        ge=0, le=bounds.WEIGHT, description="weight of the features' residual, in loss and score"
    )


class FAnoGANConfig(MethodConfig):
    """Section ``method`` for f-AnoGAN."""

    name: Literal["fanogan"]
    width: int = Field(
        ge=1, le=bounds.CHANNELS, description="channels at full size; 8 times as many at 4 x 4"
    )
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in z")
    gan: GANConfig
    encoder: EncoderConfig


Norm = Callable[[int], nn.Module]


def layer_norm(channels: int) -> nn.Module:
    """Over an image's channels and pixels together, with a scale and an offset for each channel."""
    return nn.GroupNorm(1, channels)


class ResamplingBlock(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice, beside a 1x1 shortcut; doubles or halves the side.

    ``up`` resamples (nearest neighbours) before the first convolution, ``down`` (means of 2x2)
    after the second; the shortcut always at its smaller side.
    """

    def __init__(self, cin: int, cout: int, resample: Literal["up", "down"], norm: Norm) -> None:
        super().__init__()
        up = resample == "up"
        middle = cout if up else cin
        first = nn.Conv2d(cin, middle, 3, 1, 1, bias=False)
        second = nn.Conv2d(middle, cout, 3, 1, 1)
        enlarge, shrink = nn.Upsample(scale_factor=2), nn.AvgPool2d(2)
        self.body = nn.Sequential(
            *(norm(cin), nn.ReLU(), *([enlarge] if up else []), first),
            *(norm(middle), nn.ReLU(), second, *([] if up else [shrink])),
        )
        # A 1x1 convolution and nearest neighbours commute; the smaller side is cheaper.
        pointwise = nn.Conv2d(cin, cout, 1)
        self.shortcut = nn.Sequential(*((pointwise, enlarge) if up else (shrink, pointwise)))
        for convolution, gain in ((first, math.sqrt(2)), (second, math.sqrt(2)), (pointwise, 1.0)):
            _initialise(convolution, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)  # type: ignore[no-any-return]


class ResidualGenerator(nn.Module):
    """Latent vectors to images: a linear layer to 4 x 4, then a block for each doubling."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        widths = stage_widths(width, size)
        self.widest = WIDEST * width
        self.input = nn.Linear(latent, 16 * self.widest)
        blocks, cin = [], self.widest
        for cout in reversed(widths):
            blocks.append(ResamplingBlock(cin, cout, "up", nn.BatchNorm2d))
            cin = cout
        output = nn.Conv2d(cin, channels, 3, 1, 1)
        self.body = nn.Sequential(*blocks, nn.BatchNorm2d(cin), nn.ReLU(), output, nn.Tanh())
        _initialise(self.input, 1.0)
        _initialise(output, math.sqrt(2))

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent), standard normal, to (N, C, S, S) in [-1, 1]."""
        return self.body(self.input(z).unflatten(1, (self.widest, 4, 4)))  # type: ignore[no-any-return]


class ResidualCritic(nn.Module):
    """D: a block for each halving down to 4 x 4, with layer norm, then a linear layer."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.body = _downwards(channels, width, size, layer_norm)
        self.head = nn.Linear(16 * WIDEST * width, 1)
        _initialise(self.head, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) to values (N,), high for real, and the features (N, F) under them."""
        features = self.body(x)
        return self.head(features).flatten(), features


class ResidualEncoder(nn.Module):
    """Shaped like the critic, with batch norm; tanh keeps z within [-1, 1]."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        self.body = _downwards(channels, width, size, nn.BatchNorm2d)
        self.head = nn.Linear(16 * WIDEST * width, latent)
        _initialise(self.head, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] to (N, latent) in [-1, 1]."""
        return self.head(self.body(x)).tanh()  # type: ignore[no-any-return]


def _downwards(channels: int, width: int, size: int, norm: Norm) -> nn.Sequential:
    """(N, channels, size, size) to (N, 16 * WIDEST * width)."""
    first, *others = stage_widths(width, size)
    stem = nn.Conv2d(channels, first, 3, 1, 1)
    _initialise(stem, 1.0)
    layers: list[nn.Module] = [stem]
    cin = first
    for cout in (*others, WIDEST * width):
        layers.append(ResamplingBlock(cin, cout, "down", norm))
        cin = cout
    return nn.Sequential(*layers, nn.Flatten())


def _initialise(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Glorot's uniform start; a gain of sqrt(2) is He's for a layer that keeps its width."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def residuals(
    x: Tensor, twin: Tensor, features: Tensor, twin_features: Tensor
) -> tuple[Tensor, Tensor]:
    """The two parts of the izi_f loss and of A(x), each image's mean squares (N,).

    ``x`` against ``twin`` = G(E(x)), (N, C, H, W), and D's features of both, (N, F).
    """
    image = (x - twin).square().flatten(1).mean(dim=1)
    return image, (features - twin_features).square().mean(dim=1)


class FAnoGAN(StepMethod):
    """Generator G, critic D and, once they are trained, encoder E.

    Images must have a side that is a power of two, 32 or more.
    """

    Config = FAnoGANConfig
    finders = ("encoder",)
    facts = Facts(
        "f-AnoGAN",
        "Schlegl et al., Medical Image Analysis 2019",
        score="image-and-features",
        own_scores=("image-and-features",),
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        width, latent = self.config.width, self.config.latent
        return {
            "generator": ResidualGenerator(channels, width, size, latent),
            "critic": ResidualCritic(channels, width, size),
            "encoder": ResidualEncoder(channels, width, size, latent),
        }

    def _optimizer(self, name: str, network: nn.Module) -> torch.optim.Optimizer:
        gan, parameters = self.config.gan, network.parameters()
        if name == "encoder":
            rate = self.config.encoder.learning_rate
            return torch.optim.RMSprop(parameters, rate, alpha=0.9, eps=1e-5)
        return torch.optim.Adam(parameters, gan.learning_rate, gan.adam_betas, fused=True)

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """A step of the GAN or, after its share of the training, of the encoder; on B alone."""
        training_gan = moment.fraction < self.config.gan.share
        self.wrapped["generator"].train(training_gan).requires_grad_(training_gan)
        self.wrapped["critic"].requires_grad_(training_gan)
        if not training_gan:
            return self._encoder_step(healthy)
        report = self._critic_step(healthy, moment)
        if (moment.step + 1) % self.config.gan.critic_steps == 0:
            report |= self._generator_step(healthy, moment)
        return report

    def _critic_step(self, healthy: Tensor, moment: Moment) -> dict[str, Tensor]:
        n = len(healthy)
        with torch.no_grad():
            fake = self.wrapped["generator"](moment.normal(healthy, n, self.config.latent))
        value, _ = self.wrapped["critic"](torch.cat([healthy, fake]))
        adversarial = losses.discriminator_adversarial("wgan-gp", value[:n], value[n:])
        penalty = self._gradient_penalty("critic", healthy, fake, moment, lambda out: out[0])
        self._descend(adversarial + self.config.gan.gradient_penalty * penalty, "critic")
        return detached({"adversarial": adversarial, "gradient_penalty": penalty}, "d_")

    def _generator_step(self, healthy: Tensor, moment: Moment) -> dict[str, Tensor]:
        critic = self.wrapped["critic"]
        with frozen(critic):
            noise = moment.normal(healthy, len(healthy), self.config.latent)
            value, _ = critic(self.wrapped["generator"](noise))
            adversarial = losses.translator_adversarial("wgan-gp", value)
            self._descend(adversarial, "generator")
        return {"g_adversarial": adversarial.detach()}

    def _encoder_step(self, healthy: Tensor) -> dict[str, Tensor]:
        critic = self.wrapped["critic"]
        twin = self.wrapped["generator"](self.wrapped["encoder"](healthy))
        with torch.no_grad():
            features = critic(healthy)[1]
        image, feature = residuals(healthy, twin, features, critic(twin)[1])
        image, feature = image.mean(), feature.mean()
        self._descend(image + self.config.encoder.kappa * feature, "encoder")
        return detached({"image": image, "features": feature}, "e_")

    def _find(self, x: Tensor, version: str) -> Finding:
        generator, critic, encoder = (self.networks[n] for n in ("generator", "critic", "encoder"))
        twin = generator(encoder(x))
        image, feature = residuals(x, twin, critic(x)[1], critic(twin)[1])
        scores = {"image-and-features": image + self.config.encoder.kappa * feature}
        return Finding(difference_map(x, twin), twin, scores=scores)
