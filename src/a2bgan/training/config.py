"""An experiment as data: presets, files and settings merged into one validated configuration."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import torch
import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from a2bgan.data.batches import AugmentConfig
from a2bgan.data.holdout import HoldoutConfig
from a2bgan.data.preprocessing import DataConfig
from a2bgan.errors import InputError
from a2bgan.training.methods import METHODS
from a2bgan.training.methods.method import Facts, Method
from a2bgan.training.methods.sections import MethodConfig, Section

DEFAULT_PRESET = "fast"


class TrainConfig(Section):
    """Section ``train``: how long, how much at once, and what is kept.

    Of methods that look at every image once (PaDiM, PatchCore) only ``batch_size``, ``seed`` and
    ``accelerator`` count, and they refuse more than one device.
    """

    steps: int | None = Field(ge=1, description="length in steps; exactly repeatable")
    minutes: float | None = Field(gt=0, description="length by the clock; schedules follow it")
    least_steps: int | None = Field(
        None, ge=1, description="a shorter training is reported as doubtful; null: none is"
    )
    batch_size: int = Field(ge=1, description="of each set, in a step, on each process")
    seed: int = Field(ge=0, lt=2**63)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        description="Lightning Fabric's; auto: bf16-mixed where the hardware has it"
    )
    accelerator: str = Field(description="Lightning Fabric's accelerator: auto, cpu, cuda, mps")
    devices: int | str = Field(description="Lightning Fabric's devices: auto or a number")
    nodes: int = Field(1, ge=1, description="machines, each with as many devices")
    compile: Literal["inductor", "cudagraphs", "aot_eager", "eager"] | None = Field(
        None, description="torch.compile's backend for networks that learn by steps"
    )
    augment: AugmentConfig
    log_every: int = Field(ge=1, description="steps between lines of metrics.jsonl")
    checkpoint_every: int = Field(ge=1, description="steps between checkpoints")
    sample_every: int = Field(ge=1, description="steps between sample grids")

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either train.steps or train.minutes")
        return self


class SelectionConfig(Section):
    """Section ``selection``: which checkpoint and score a finished training stands for."""

    by: Literal["aucp", "fid", "last"]
    patience: int | None = Field(
        ge=1, description="end training after so many checkpoints without gain"
    )
    images: int = Field(ge=2, description="of each set, at most, that are looked at")

    @model_validator(mode="after")
    def _stops_by_what_it_measures(self) -> Self:
        if self.patience is not None and self.by != "aucp":
            raise ValueError("patience needs selection.by=aucp")
        return self


class Config(Section):
    """Everything a training depends on, apart from the images."""

    data: DataConfig
    method: SerializeAsAny[MethodConfig]
    train: TrainConfig
    holdout: HoldoutConfig
    selection: SelectionConfig

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, section: Any) -> Any:
        if not isinstance(section, Mapping):
            return section
        name = section.get("name")
        if name not in METHODS:
            raise ValueError(f"unknown method {name!r}; there are: {', '.join(METHODS)}")
        try:
            return METHODS[name].Config.model_validate(section)
        except ValidationError as error:
            raise ValueError(f"method.{_first_problem(error)}") from None

    @property
    def facts(self) -> Facts:
        """Facts about the configured method."""
        return METHODS[self.method.name].facts

    def build_method(self) -> Method:
        """The method with fresh weights, which depend on the seed alone."""
        torch.manual_seed(self.train.seed)
        return METHODS[self.method.name](self.method, self.data.channels, self.data.size)


def preset_names() -> list[str]:
    """The presets that come with the package; those that others extend begin with an underscore."""
    names = (file.name for file in files("a2bgan").joinpath("presets").iterdir())
    found = (name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
    return sorted(name for name in found if not name.startswith("_"))


def load_config(
    preset: str = DEFAULT_PRESET, file: Path | None = None, settings: Sequence[str] = ()
) -> Config:
    """A configuration from a preset, changed by a YAML file, changed by ``key=value`` settings.

    Setting one of train.steps and train.minutes unsets the other. Raises InputError that names
    the setting, what is wrong with it and, for an unknown one, what there is.
    """
    if preset not in preset_names():
        raise InputError(f"unknown preset {preset!r}; there are: {', '.join(preset_names())}")
    merged = _load_preset(preset)
    if file is not None:
        merged = _merge(merged, _read_yaml(file.read_text, str(file)))
    if settings:
        merged = _merge(merged, _parse_settings(settings))
    return validate_config(merged)


def validate_config(values: Mapping[str, Any]) -> Config:
    """Values as read from YAML to a Config. Raises InputError in one line."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"configuration: {_first_problem(error)}") from None


def read_config(path: Path) -> Config:
    """The resolved configuration of a run. Raises InputError if it cannot be used."""
    return validate_config(_read_yaml(path.read_text, str(path)))


def write_config(config: Config, path: Path) -> None:
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _load_preset(name: str) -> dict[str, Any]:
    source = files("a2bgan").joinpath("presets", f"{name}.yaml")
    values = _read_yaml(source.read_text, name)
    base = values.pop("extends", None)
    return values if base is None else _merge(_load_preset(base), values)


def _read_yaml(read: Any, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: not readable as YAML ({reason})") from None
    if not isinstance(values, dict):
        raise InputError(f"{name}: expected settings by section, such as 'data: {{size: 64}}'")
    return values


def _parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """``a.b=value`` texts to nested dictionaries; values are YAML."""
    merged: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise InputError(f"--set {setting}: expected key=value, such as data.size=64")
        try:
            value = yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError):
            raise InputError(f"--set {setting[:100]}: the value is not readable") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        merged = _merge(merged, value)
    return merged


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the later winning. Sections with two names (of methods) do not mix."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            names = {section["name"] for section in (old, value) if "name" in section}
            if len(names) < 2:
                value = _merge(old, value)
        merged[key] = value
    for one, other in (("steps", "minutes"), ("minutes", "steps")):
        if changes.get(one) is not None and other not in changes and other in merged:
            merged[other] = None
    return merged


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown setting"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = f" (got {value!r})" if isinstance(value, str | int | float | bool) else ""
    named = not where or message.startswith(f"{where}.")  # by a section that checks itself
    return message if named else f"{where}: {message}{shown}"
