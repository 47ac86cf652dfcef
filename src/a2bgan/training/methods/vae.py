"""A variational autoencoder of healthy images: what it cannot rebuild is not healthy.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; for anomalies as Baur et al.,
"Autoencoders for Unsupervised Anomaly Segmentation in Brain MR Images: A Comparative Study",
Medical Image Analysis 2021 (its VAE, dense).

As there: q(z | x) and p(z) are normal, one sample of z an image and step, the loss is the negative
evidence lower bound with the summed absolute error; the twin is decoded from the mean of q.
Preset `vae-paper` has Baur's size (128), code (128 numbers), channels, rate and batch. Different:
the network, length and maps as for the autoencoder (`a2bgan.training.methods.autoencoder`);
the scale of the Laplace likelihood is a setting, 1 in Baur's; the encoder gives log variances, not
log deviations; the score ``elbo`` takes the mean of q for its one sample, so that it is repeatable.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.autoencoder import Posterior, VariationalAutoencoder
from a2bgan.models.blend import difference_map
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod
from a2bgan.training.methods.sections import BottleneckConfig


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
    """One variational autoencoder, trained on B."""

    Config = VAEConfig
    memory_format = torch.contiguous_format
    facts = Facts(
        "VAE",
        "Kingma & Welling, ICLR 2014; Baur et al., Medical Image Analysis 2021",
        own_scores=("elbo",),
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c = self.config
        return {"autoencoder": VariationalAutoencoder(channels, size, c.widths, c.hidden, c.latent)}

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B."""
        noise = moment.normal(healthy, len(healthy), self.config.latent)
        posterior: Posterior = self.wrapped["autoencoder"](healthy, noise)
        surprise, divergence = self._negative_elbo(healthy, posterior)
        loss = (surprise + divergence).mean()
        self._descend(loss, "autoencoder")
        return {
            "negative_elbo": loss.detach(),
            "kl_divergence": divergence.detach().mean(),
            "reconstruction": (healthy - posterior.reconstruction).detach().abs().mean(),
        }

    def _find(self, x: Tensor, version: str) -> Finding:
        posterior: Posterior = self.networks["autoencoder"](x)
        surprise, divergence = self._negative_elbo(x, posterior)
        twin = posterior.reconstruction.clamp(-1, 1)
        return Finding(difference_map(x, twin), twin, scores={"elbo": surprise + divergence})

    def _negative_elbo(self, x: Tensor, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Both parts of the negative evidence lower bound of images, (n,) each."""
        surprise = reconstruction_surprise(x, posterior.reconstruction, self.config.noise)
        return surprise, kl_divergence(posterior.mean, posterior.log_variance)
