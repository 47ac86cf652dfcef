"""Every numeric setting has an upper bound, and absurd values end in one line."""

import copy
import math
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.training.config import Config, load_config, preset_names, validate_config
from a2bgan.training.methods import METHODS

MODELS = [Config, *(method.Config for method in METHODS.values())]


def unbounded(kind: Any, metadata: tuple[Any, ...], name: str) -> list[str]:
    """Numbers in a type without a finite upper bound, by the names of their settings."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, *more = get_args(kind)
        return unbounded(base, (*metadata, *more), name)
    if origin in (Union, UnionType, tuple, list):
        parts = [part for part in get_args(kind) if part not in (type(None), Ellipsis)]
        return [found for part in parts for found in unbounded(part, metadata, name)]
    if origin is Literal or kind in (bool, str):
        return []
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [
            found
            for field, info in kind.model_fields.items()
            for found in unbounded(info.annotation, tuple(info.metadata), f"{name}.{field}")
        ]
    if kind in (int, float):
        parts = [
            m
            for item in metadata
            for m in (item.metadata if isinstance(item, FieldInfo) else [item])
        ]
        limits = [m.le for m in parts if isinstance(m, annotated_types.Le)]
        limits += [m.lt for m in parts if isinstance(m, annotated_types.Lt)]
        return [] if any(math.isfinite(limit) for limit in limits) else [name]
    return []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_number_has_an_upper_bound(model):
    assert unbounded(model, (), model.__name__) == []


def numbers(values: Any, name: str = "") -> list[str]:
    """Names of the settings of a resolved configuration that are numbers."""
    if isinstance(values, dict):
        return [n for k, v in values.items() for n in numbers(v, f"{name}.{k}" if name else k)]
    return [name] if isinstance(values, int | float) and not isinstance(values, bool) else []


NUMBERS = (math.inf, -math.inf, math.nan, 10**40, 10**4000, 16**20_000, date(2020, 1, 1))

ABSURD = (
    "1e400", "-1e400", ".nan", "1" + "0" * 12, "9" * 4000, "9" * 5000, "0x" + "f" * 20_000,
    "2020-01-01", "2020-13-45", "1:1:1:1:1", "[" * 1500, "{a: {a: 1}}",
)  # fmt: skip


@pytest.mark.parametrize("preset", preset_names())
def test_no_setting_takes_an_absurd_number(preset):
    known = load_config(preset).model_dump(mode="json")
    for name in numbers(known):
        if name == "train.devices":  # may be a text, which Lightning judges
            continue
        for value in (
            math.inf,
            -math.inf,
            math.nan,
            10**40,
            10**4000,
            16**20_000,
            date(2020, 1, 1),
        ):
            values = copy.deepcopy(known)
            *sections, last = name.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[last] = value
            with pytest.raises(InputError) as caught:
                validate_config(values)
            message = str(caught.value)
            assert name in message
            assert message.isprintable() and len(message) < 600


@pytest.mark.parametrize("value", ABSURD)
def test_the_message_says_what_is_allowed(value):
    with pytest.raises(InputError, match=r"data\.size") as caught:
        load_config("fast", None, [f"data.size={value}"])
    if value == "1" + "0" * 12:
        assert "data.size: Input should be less than or equal to 4096" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: " + "{a: " * 4000, "not readable as YAML"),
        ("data: {size: 2020-01-01}", "data.size: Input should be a valid integer"),
        ("2020-01-01: 5", "configuration: "),
        ("? [1, 2]\n: 5", "not readable as YAML|configuration: "),
        ("a: &a [1]\nb: [*a, *a]", "aliases are not taken"),
        ("data: &a\n  b: *a", "aliases are not taken"),
        ("data: {size: " + "9" * 5000 + "}", "not readable as YAML"),
        ("# " + "x" * 300_000, "more than 262,144 characters"),
        ('"data\\n\\e[31m": 5', "configuration: data"),
        ("method: {name: []}", "unknown method"),
        ("method: {name: {a: 1}}", "unknown method"),
        ("data: !!python/object/apply:os.system [ls]", "not readable as YAML"),
    ],
)
def test_files_of_strangers_end_in_one_line(text, message, tmp_path):
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config("fast", file)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_so_many_devices_are_not_there():
    with pytest.raises(InputError, match=r"train\.devices: .*less than or equal to 1024"):
        load_config("fast", None, [f"train.devices={10**9}"])


def test_settings_without_end():
    with pytest.raises(InputError, match="configuration: "):
        load_config("fast", None, [".".join("a" * 3000) + "=1", ".".join("a" * 3000) + "=2"])


def test_networks_beyond_all_memory_are_not_made(monkeypatch):
    message = "method: more than 1,000,000,000 weights; lower its widths or data.size"
    with pytest.raises(InputError, match=message):
        load_config("vae-paper", None, ["method.widths=[1024]", "data.size=4096"]).build_method()
    config = load_config("paper")
    monkeypatch.setattr(bounds, "WEIGHTS", 10**6)
    with pytest.raises(InputError, match="method: more than 1,000,000 weights"):
        config.build_method()
