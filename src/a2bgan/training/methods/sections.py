"""Sections of configurations: their base, and those that several methods share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.models.translator import Upsampling

_AdamBeta = Annotated[float, Field(ge=0, lt=1)]
AdamBetas = tuple[_AdamBeta, _AdamBeta]


class Section(BaseModel):
    """A part of a configuration; unknown settings are refused.

    Runs of earlier versions may name a setting of ``removed``: it is dropped where it has the value
    that is now built in, and refused otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: ClassVar[Mapping[str, Any]] = {}

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for name, built_in in cls.removed.items():
            if name in values and values[name] != built_in:
                raise ValueError(
                    f"{name} is no longer a setting: {built_in} is built in; leave it out, or use "
                    "the version that the run was made with"
                )
        return {name: value for name, value in values.items() if name not in cls.removed}


class MethodConfig(Section):
    """Section ``method``; each method adds its own settings."""

    name: str


class BackboneConfig(MethodConfig):
    """Section ``method`` of methods that work on a frozen network's features."""

    backbone: str = Field(
        description="a timm model with features at the strides that are used, or a vision "
        "transformer"
    )
    backbone_weights: Path | None = Field(
        None, description="file of its pretrained weights; null: installed or in timm's cache"
    )
    input_size: int | None = Field(
        None,
        ge=32,
        le=bounds.SIDE,
        description="side that images are resized to for it; null follows data.size",
    )


class BottleneckConfig(MethodConfig):
    """Section ``method`` of methods that consist of autoencoders."""

    widths: tuple[Annotated[int, Field(ge=1, le=bounds.CHANNELS)], ...] = Field(
        min_length=1, description="channels after each halving of the image"
    )
    hidden: int = Field(
        ge=1, le=bounds.UNITS, description="units of the layers before and after the code"
    )
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in a code")
    learning_rate: float = Field(gt=0, le=bounds.RATE, description="Adam's")
    adam_betas: AdamBetas


class TranslatorConfig(Section):
    """Section ``method.translator``: the network G and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS, description="channels of the first layer")
    blocks: int = Field(ge=0, le=bounds.LAYERS, description="residual blocks")
    upsampling: Upsampling = Field(description="how the decoder enlarges its features")
    learning_rate: float = Field(gt=0, le=bounds.RATE, description="Adam's")


class DiscriminatorConfig(Section):
    """Section ``method.discriminator``: the network D and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS, description="channels of the first layer")
    depth: int | None = Field(ge=1, le=bounds.LAYERS, description="null follows the image size")
    learning_rate: float = Field(gt=0, le=bounds.RATE, description="Adam's")
    steps: int = Field(ge=1, le=bounds.STEPS, description="D steps for each G step")


class TranslationConfig(MethodConfig):
    """Section ``method`` of methods that translate by one G against one D."""

    translator: TranslatorConfig
    discriminator: DiscriminatorConfig
    adam_betas: AdamBetas
    decay_from: float = Field(
        ge=0, le=1, description="share of training after which rates fall linearly to zero"
    )


class StyleTranslatorConfig(Section):
    """Section ``method.translator`` of methods that translate with a style."""

    width: int = Field(ge=2, le=bounds.CHANNELS, description="channels of the first layer")
    blocks: int = Field(
        ge=1, le=bounds.LAYERS, description="residual blocks of encoder and decoder, each"
    )
    style: int = Field(ge=1, le=bounds.UNITS, description="numbers in a style")
    hidden: int = Field(ge=1, le=bounds.UNITS, description="width of the perceptron behind a style")


class MultiScaleDiscriminatorConfig(Section):
    """Section ``method.discriminator`` of methods with discriminators of several scales."""

    width: int = Field(ge=2, le=bounds.CHANNELS, description="channels of the first layer")
    depth: int = Field(
        ge=1, le=bounds.LAYERS, description="strided convolutions; fewer for small images"
    )
    scales: int = Field(ge=1, le=8, description="sizes that an image is looked at in")

    def depth_for(self, size: int) -> int:
        """``depth``, or as many halvings as the smallest scale of ``size`` pixels a side allows.

        Raises InputError where that scale is a single pixel, which cannot be halved.
        """
        most = (size - 1).bit_length()
        if self.scales > most:
            raise InputError(
                f"method.discriminator.scales={self.scales}: images of {size} x {size} pixels can "
                f"be halved for {most} at most; set as many or fewer"
            )
        return max(1, min(self.depth, size.bit_length() - self.scales))


class StyledConfig(MethodConfig):
    """Section ``method`` of methods that translate with a style."""

    translator: StyleTranslatorConfig
    discriminator: MultiScaleDiscriminatorConfig
    learning_rate: float = Field(gt=0, le=bounds.RATE, description="Adam's")
    adam_betas: AdamBetas
    weight_decay: float = Field(ge=0, le=bounds.RATE)
    halve_every: float = Field(
        gt=0, le=100, description="share of training after which rates halve"
    )
