"""A variational autoencoder of healthy images: what it cannot rebuild is not healthy.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; for anomalies as Baur et al.,
"Autoencoders for Unsupervised Anomaly Segmentation in Brain MR Images: A Comparative Study",
Medical Image Analysis 2021 (its VAE, dense).

As there: q(z | x) and p(z) are normal, one sample of z an image and step, the loss is the negative
evidence lower bound with the summed absolute error; the twin is decoded from the mean of q.
Preset `vae-paper` has Baur's size (128), code (128 numbers), channels, rate and batch. Different:
the network, length and maps as said of the autoencoder (`a2bgan.training.methods.autoencoder`);
the scale of the Laplace likelihood is a setting, 1 in Baur's; the encoder gives log variances, not
log deviations; the score ``elbo`` takes the mean of q for its one sample, so that it is repeatable.
"""

from typing import Any, ClassVar, Literal

from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.inference import inference
from a2bgan.models.variational_autoencoder import Posterior, VariationalAutoencoder
from a2bgan.training.methods.autoencoder import BottleneckConfig
from a2bgan.training.methods.method import Facts, Finding, MethodConfig, Moment, StepMethod


def reconstruction_surprise(x: Tensor, reconstruction: Tensor, noise: float) -> Tensor:
    """-log p(x | z) of images (N, C, H, W) in [-1, 1] but for a constant, (N,).

    The likelihood is Laplace's: the summed absolute error over its scale ``noise``, both as
    fractions of the intensity range.
    """
    return (x - reconstruction).abs().flatten(1).sum(1) / (2 * noise)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q || p) from N(mean, variance) to N(0, 1), (N, latent) to (N,).

    Kingma & Welling, appendix B: sum (mean^2 + variance - log variance - 1) / 2.
    """
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2


class VAEConfig(BottleneckConfig):
    """Section ``method`` for the variational autoencoder."""

    name: Literal["vae"]
    noise: float = Field(
        gt=0,
        le=bounds.WEIGHT,
        description="scale of the likelihood, as a fraction of the intensity range",
    )


class VAE(StepMethod):
    """One variational autoencoder, trained on B.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a multiple of two to the number of widths.
    """

    Config: ClassVar[type[MethodConfig]] = VAEConfig
    facts: ClassVar[Facts] = Facts(
        title="VAE",
        paper="Kingma & Welling, ICLR 2014; Baur et al., Medical Image Analysis 2021",
        score="mean",
        own_scores=("elbo",),
    )

    def __init__(self, config: VAEConfig, channels: int, size: int) -> None:
        self.config = config
        network = VariationalAutoencoder(
            channels, size, config.widths, config.hidden, config.latent
        )
        self.networks = {"autoencoder": network}
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = {"autoencoder": self.config.learning_rate}
        self.autoencoder: Any = self._set_up(fabric, rates, self.config.adam_betas)["autoencoder"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B."""
        noise = moment.normal(healthy, len(healthy), self.config.latent)
        posterior: Posterior = self.autoencoder(healthy, noise)
        surprise = reconstruction_surprise(healthy, posterior.reconstruction, self.config.noise)
        divergence = kl_divergence(posterior.mean, posterior.log_variance)
        loss = (surprise + divergence).mean()
        self._descend("autoencoder", loss)
        return {
            "negative_elbo": loss.detach(),
            "kl_divergence": divergence.detach().mean(),
            "reconstruction": (healthy - posterior.reconstruction).detach().abs().mean(),
        }

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        autoencoder = self.networks["autoencoder"]
        with inference(autoencoder):
            posterior: Posterior = autoencoder(x)
        negative_elbo = reconstruction_surprise(
            x, posterior.reconstruction, self.config.noise
        ) + kl_divergence(posterior.mean, posterior.log_variance)
        twin = posterior.reconstruction.clamp(-1, 1)
        return Finding(difference_map(x, twin), twin, scores={"elbo": negative_elbo})
