"""An autoencoder of healthy images: what it cannot rebuild is not healthy.

Baur et al., "Autoencoders for Unsupervised Anomaly Segmentation in Brain MR Images: A Comparative
Study", Medical Image Analysis 2021 (its AE, dense).

As there: trained on healthy images alone, by the absolute error, with Adam; the map is |x - x'|.
Preset `autoencoder-paper` has its size (128), code (128 numbers), channels (32, 64, 128, 128 down
to 8 x 8), rate and batch. Different: the network is that of DDAD (`a2bgan.models.autoencoder`: 4x4
convolutions, ReLU and a fully connected layer before and after the code, for 5x5, leaky ReLU and
1x1 convolutions), without dropout; a fixed length, for early stopping on a validation loss; no
knowledge of brains (skull stripping, bright lesions only, median filter) in the map; and an image
score, the map's mean, which the paper does not have.
"""

from typing import Annotated, Any, ClassVar, Literal

from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor

from a2bgan.data import bounds
from a2bgan.models.autoencoder import Autoencoder
from a2bgan.models.blend import difference_map
from a2bgan.models.inference import inference
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    StepMethod,
)

_Width = Annotated[int, Field(ge=1, le=bounds.CHANNELS)]


class BottleneckConfig(MethodConfig):
    """What the methods made of autoencoders have in common in section ``method``."""

    widths: tuple[_Width, ...] = Field(
        min_length=1, max_length=16, description="channels after each halving of the image"
    )
    hidden: int = Field(
        ge=1, le=bounds.UNITS, description="units of the layers before and after the code"
    )
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in a code")
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas


class AutoencoderConfig(BottleneckConfig):
    """Section ``method`` for the autoencoder."""

    name: Literal["autoencoder"]


class AutoencoderMethod(StepMethod):
    """One autoencoder, trained on B.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a multiple of two to the number of widths.
    """

    Config: ClassVar[type[MethodConfig]] = AutoencoderConfig
    facts: ClassVar[Facts] = Facts(
        title="Autoencoder", paper="Baur et al., Medical Image Analysis 2021", score="mean"
    )

    def __init__(self, config: AutoencoderConfig, channels: int, size: int) -> None:
        self.config = config
        network = Autoencoder(channels, size, config.widths, config.hidden, config.latent)
        self.networks = {"autoencoder": network}
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = {"autoencoder": self.config.learning_rate}
        self.autoencoder: Any = self._set_up(fabric, rates, self.config.adam_betas)["autoencoder"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B."""
        loss = (self.autoencoder(healthy) - healthy).abs().mean()
        self._descend("autoencoder", loss)
        return {"reconstruction": loss.detach()}

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        autoencoder = self.networks["autoencoder"]
        with inference(autoencoder):
            twin = autoencoder(x).clamp(-1, 1)
        return Finding(difference_map(x, twin), twin)
