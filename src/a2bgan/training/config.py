"""An experiment as data: presets, files and settings merged into one validated configuration."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
import yaml
from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from a2bgan import extensions
from a2bgan.data import bounds
from a2bgan.data.batches import AugmentConfig
from a2bgan.data.config import DataConfig
from a2bgan.data.holdout import HoldoutConfig
from a2bgan.errors import InputError
from a2bgan.training.methods import METHODS
from a2bgan.training.methods.method import Facts, Method
from a2bgan.training.methods.sections import MethodConfig, Section
from a2bgan.training.settings import unknown_setting

DEFAULT_PRESET = "fast"

YAML = (".yaml", ".yml")
"""Suffixes of a preset that is a file."""

DEEPEST_PRESET = 8
"""Presets that may extend one another."""

LARGEST_FILE = 2**18
"""Characters of a YAML file. The settings of a run take 3,000."""

LONGEST_TEXT = 200
"""Characters of what a message quotes."""

NOT_YAML = (ValueError, RecursionError, TypeError, OverflowError, AttributeError, yaml.YAMLError)
"""Exceptions that a YAML parser raises for damaged text."""

UNION_MEMBERS = ("constrained-int", "str")
"""Parts that pydantic adds to the place of a setting that may be of two types."""


LoggerName = Literal["tensorboard", "mlflow", "wandb"]
"""Where losses can go besides ``metrics.jsonl``."""


class TrainConfig(Section):
    """Section ``train``: how long, how much at once, and what is kept.

    Of methods that look at every image once (PaDiM, PatchCore) only ``batch_size``, ``seed`` and
    ``accelerator`` count, and they refuse more than one device.
    """

    steps: int | None = Field(
        ge=1, le=bounds.STEPS, description="length in steps; exactly repeatable"
    )
    minutes: float | None = Field(
        gt=0, le=bounds.MINUTES, description="length by the clock; schedules follow it"
    )
    least_steps: int | None = Field(
        None,
        ge=1,
        le=bounds.STEPS,
        description="a shorter training is reported as doubtful; null: none is",
    )
    batch_size: int = Field(
        ge=1, le=bounds.BATCH, description="of each set, in a step, on each process"
    )
    seed: int = Field(ge=0, le=bounds.SEED, description="of weights, order and augmentation")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        description="Lightning Fabric's; auto: bf16-mixed where the hardware has it"
    )
    accelerator: str = Field(description="Lightning Fabric's accelerator: auto, cpu, cuda, mps")
    devices: Annotated[int, Field(le=bounds.MACHINES)] | str = Field(
        description="Lightning Fabric's devices: auto or a number"
    )
    nodes: int = Field(
        1, ge=1, le=bounds.MACHINES, description="machines, each with as many devices"
    )
    compile: Literal["inductor", "cudagraphs", "aot_eager", "eager"] | None = Field(
        None, description="torch.compile's backend for networks that learn by steps"
    )
    logger: LoggerName | None = Field(
        None,
        description="where losses go besides the run's metrics.jsonl; mlflow and wandb: to the "
        "server that these packages are set up for",
    )
    augment: AugmentConfig
    log_every: int = Field(
        ge=1, le=bounds.STEPS, description="steps between lines of metrics.jsonl"
    )
    checkpoint_every: int = Field(ge=1, le=bounds.STEPS, description="steps between checkpoints")
    sample_every: int = Field(ge=1, le=bounds.STEPS, description="steps between sample grids")

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either train.steps or train.minutes")
        return self


class SelectionConfig(Section):
    """Section ``selection``: which checkpoint and score a finished training stands for."""

    by: Literal["aucp", "fid", "last"] = Field(
        description="held-out A against held-out B; distance of twins to B; the last checkpoint"
    )
    patience: int | None = Field(
        ge=1, le=bounds.STEPS, description="end training after so many checkpoints without gain"
    )
    images: int = Field(
        ge=2, le=bounds.STEPS, description="of each set, at most, that are looked at"
    )

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
        if not isinstance(name, str) or name not in METHODS:
            raise ValueError(
                f"unknown method {_shown(name)}; there are: {', '.join(METHODS)}; any other one "
                "needs the package that adds it"
            )
        kind = METHODS[name].Config
        try:
            return kind.model_validate(section)
        except ValidationError as error:
            raise ValueError(f"method.{_first_problem(error, kind)}") from None

    @property
    def facts(self) -> Facts:
        """Facts about the configured method."""
        return METHODS[self.method.name].facts

    def build_method(self) -> Method:
        """The method with fresh weights, which depend on the seed alone. Raises InputError where
        they are too many."""
        torch.manual_seed(self.train.seed)
        with _bounded_weights():
            return METHODS[self.method.name](self.method, self.data.channels, self.data.size)


@contextmanager
def _bounded_weights() -> Iterator[None]:
    """InputError where networks made here have more than `bounds.WEIGHTS` in all.

    Each setting is bounded, but widths multiply. Weights are counted when they are registered,
    which is before they are filled: until then they take no memory.
    """
    refusal = f"method: more than {bounds.WEIGHTS:,} weights; lower its widths or data.size"
    count = 0

    def add(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += 0 if parameter is None else parameter.numel()
        if count > bounds.WEIGHTS:
            raise InputError(refusal)

    hook = register_module_parameter_registration_hook(add)
    try:
        yield
    except (MemoryError, OverflowError) as error:
        raise InputError(refusal) from error
    except RuntimeError as error:
        # PyTorch has no type for it: a single array that is larger than the memory, or than any.
        if not any(word in str(error) for word in ("allocate", "overflow", "Storage size")):
            raise
        raise InputError(refusal) from error
    finally:
        hook.remove()


def preset_names() -> list[str]:
    """The presets that come with the package, or that other packages add; those that others extend
    begin with an underscore."""
    names = (file.name for folder in _preset_folders() for file in folder.iterdir())
    found = {name.removesuffix(".yaml") for name in names if name.endswith(".yaml")}
    return sorted(name for name in found if not name.startswith("_"))


def load_config(
    preset: str | Path = DEFAULT_PRESET, file: Path | None = None, settings: Sequence[str] = ()
) -> Config:
    """A configuration from a preset, changed by a YAML file, changed by ``key=value`` settings.

    preset: one of `preset_names`, or the path of a .yaml file, which may begin with
        ``extends: NAME`` as presets do.

    Setting one of train.steps and train.minutes unsets the other. Raises InputError that names
    the setting, what is wrong with it and, for an unknown one, what there is.
    """
    try:
        merged = _load_preset(preset)
        if file is not None:
            merged = _merge(merged, _read_yaml(file, str(file)))
        if settings:
            merged = _merge(merged, _parse_settings(settings))
    except RecursionError:
        raise InputError("configuration: settings inside settings, without end") from None
    return validate_config(merged)


def validate_config(values: Mapping[str, Any]) -> Config:
    """Values as read from YAML to a Config. Raises InputError in one line."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"configuration: {_first_problem(error, Config)}") from None


def read_config(path: Path) -> Config:
    """The resolved configuration of a run. Raises InputError if it cannot be used."""
    return validate_config(_read_yaml(path, str(path)))


def write_config(config: Config, path: Path) -> None:
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _load_preset(name: str | Path, depth: int = 0) -> dict[str, Any]:
    if depth > DEEPEST_PRESET:
        raise InputError(f"{name}: presets that extend each other, without end")
    name = str(name)
    values = _read_yaml(_find_preset(name), name)
    base = values.pop("extends", None)
    if base is None:
        return values
    if str(base).endswith(YAML):
        base = Path(name).parent / str(base)
    return _merge(_load_preset(str(base), depth + 1), values)


def _find_preset(name: str) -> Traversable:
    """The file of a preset by its name, or by its path."""
    if name.endswith(YAML):
        return Path(name)
    for folder in _preset_folders():
        if Path(name).name == name and (file := folder.joinpath(f"{name}.yaml")).is_file():
            return file
    near = difflib.get_close_matches(name, preset_names(), n=2)
    if near:
        raise InputError(f"unknown preset {name!r}; did you mean {' or '.join(near)}?")
    listed = ", ".join(preset_names())
    raise InputError(f"unknown preset {name!r}; there are: {listed}, or give a .yaml file")


def _preset_folders() -> Iterator[Traversable]:
    yield files("a2bgan").joinpath("presets")
    for name in extensions.added(extensions.PRESET_GROUP):
        yield files(extensions.load(extensions.PRESET_GROUP, name))


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, a few of which stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken; write the values out")
        return super().compose_node(parent, index)


def _parse_yaml(text: str) -> Any:
    """Raises ValueError, RecursionError, TypeError, OverflowError or YAMLError."""
    return yaml.load(text, _PlainLoader)  # (a safe loader)


def _read_yaml(source: Traversable, name: str) -> dict[str, Any]:
    try:
        with source.open("r", encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE:,} characters")
        values = _parse_yaml(text)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, *NOT_YAML) as error:
        reason = " ".join(str(error).split())[:LONGEST_TEXT]
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
            shown = setting[:LONGEST_TEXT]
            raise InputError(f"setting {shown!r}: expected key=value, such as data.size=64")
        try:
            value = _parse_yaml(text)
        except NOT_YAML:
            raise InputError(f"setting {setting[:100]!r}: the value is not readable") from None
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
            named = [section["name"] for section in (old, value) if "name" in section]
            if len(named) < 2 or named[0] == named[1]:
                value = _merge(old, value)
        merged[key] = value
    for one, other in (("steps", "minutes"), ("minutes", "steps")):
        if changes.get(one) is not None and other not in changes and other in merged:
            merged[other] = None
    return merged


def _first_problem(error: ValidationError, section: type[BaseModel]) -> str:
    """The first of pydantic's complaints, in one line."""
    problem = error.errors(include_url=False)[0]
    parts = [str(part) for part in problem["loc"] if part not in UNION_MEMBERS]
    where = " ".join(".".join(parts).split())[:LONGEST_TEXT]
    if problem["type"] == "extra_forbidden":
        return f"{where}: {unknown_setting(section, parts)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = f" (got {_shown(value)})" if isinstance(value, str | int | float | bool) else ""
    named = not where or message.startswith(f"{where}.")  # by a section that checks itself
    return message if named else f"{where}: {message}{shown}"


def _shown(value: object) -> str:
    """A value as a message quotes it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits
        return "a number of thousands of digits" if isinstance(value, int) else "a deep value"
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
