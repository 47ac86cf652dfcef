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
  cuts volumes into patches of 64 x 64, here an image is judged as a whole.
- Batches and augmentation are the project's.
"""

from typing import ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.models.residual_gan import ResidualCritic, ResidualEncoder, ResidualGenerator
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    Section,
    StepMethod,
)


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


class FAnoGAN(StepMethod):
    """Generator G, critic D and, once they are trained, encoder E.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a power of two from 32 up; InputError otherwise.
    """

    Config: ClassVar[type[MethodConfig]] = FAnoGANConfig
    facts: ClassVar[Facts] = Facts(
        title="f-AnoGAN",
        paper="Schlegl et al., Medical Image Analysis 2019",
        score="image-and-features",
        own_scores=("image-and-features",),
    )

    def __init__(self, config: FAnoGANConfig, channels: int, size: int) -> None:
        self.config = config
        width, latent = config.width, config.latent
        self.generator: nn.Module = ResidualGenerator(channels, width, size, latent)
        self.critic: nn.Module = ResidualCritic(channels, width, size)
        self.encoder: nn.Module = ResidualEncoder(channels, width, size, latent)
        self.networks = {
            "generator": self.generator,
            "critic": self.critic,
            "encoder": self.encoder,
        }
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        gan = self.config.gan
        rates = {"generator": gan.learning_rate, "critic": gan.learning_rate}
        wrapped = self._set_up(fabric, rates, gan.adam_betas)
        self.generator, self.critic = wrapped["generator"], wrapped["critic"]
        encoder = self.networks["encoder"].requires_grad_(True)
        rmsprop = torch.optim.RMSprop(
            encoder.parameters(), self.config.encoder.learning_rate, alpha=0.9, eps=1e-5
        )
        self.encoder, self.optimizers["encoder"] = fabric.setup(self._compiled(encoder), rmsprop)

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """A step of the GAN or, after its share of the training, of the encoder; on B alone."""
        training_gan = moment.fraction < self.config.gan.share
        self.generator.train(training_gan).requires_grad_(training_gan)
        self.critic.requires_grad_(training_gan)
        if not training_gan:
            return self._encoder_step(healthy)
        report = self._critic_step(healthy, moment)
        if (moment.step + 1) % self.config.gan.critic_steps == 0:
            report |= self._generator_step(healthy, moment)
        return report

    def _critic_step(self, healthy: Tensor, moment: Moment) -> dict[str, Tensor]:
        n = len(healthy)
        with torch.no_grad():
            fake = self.generator(moment.normal(healthy, n, self.config.latent))
        value, _ = self.critic(torch.cat([healthy, fake]))
        adversarial = losses.discriminator_adversarial("wgan-gp", value[:n], value[n:])
        penalty = self._gradient_penalty("critic", healthy, fake, moment, lambda out: out[0])
        self._descend("critic", adversarial + self.config.gan.gradient_penalty * penalty)
        return {"d_adversarial": adversarial.detach(), "d_gradient_penalty": penalty.detach()}

    def _generator_step(self, healthy: Tensor, moment: Moment) -> dict[str, Tensor]:
        with frozen(self.critic):
            noise = moment.normal(healthy, len(healthy), self.config.latent)
            value, _ = self.critic(self.generator(noise))
            adversarial = losses.translator_adversarial("wgan-gp", value)
            self._descend("generator", adversarial)
        return {"g_adversarial": adversarial.detach()}

    def _encoder_step(self, healthy: Tensor) -> dict[str, Tensor]:
        twin = self.generator(self.encoder(healthy))
        with torch.no_grad():
            features = self.critic(healthy)[1]
        image, feature = residuals(healthy, twin, features, self.critic(twin)[1])
        image, feature = image.mean(), feature.mean()
        self._descend("encoder", image + self.config.encoder.kappa * feature)
        return {"e_image": image.detach(), "e_features": feature.detach()}

    @property
    def ready(self) -> bool:
        return bool(self.optimizers["encoder"].state)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        generator, critic, encoder = (self.networks[n] for n in ("generator", "critic", "encoder"))
        x = x.contiguous(memory_format=torch.channels_last)
        with inference(generator, critic, encoder):
            twin = generator(encoder(x))
            image, feature = residuals(x, twin, critic(x)[1], critic(twin)[1])
        scores = {"image-and-features": image + self.config.encoder.kappa * feature}
        return Finding(difference_map(x, twin), twin, scores=scores)


def residuals(
    x: Tensor, twin: Tensor, features: Tensor, twin_features: Tensor
) -> tuple[Tensor, Tensor]:
    """The two parts of the izi_f loss and of A(x), each image's mean squares (N,).

    ``x`` against ``twin`` = G(E(x)), (N, C, H, W), and D's features of both, (N, F).
    """
    image = (x - twin).square().flatten(1).mean(dim=1)
    return image, (features - twin_features).square().mean(dim=1)
