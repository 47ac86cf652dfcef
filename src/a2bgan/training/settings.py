"""The settings of a configuration as a list: what each is, what it may be, what it means."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

BOUNDS = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}

SAFETY = 1000
"""Upper bounds from here on only keep absurd numbers out; they are not listed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted name, value, what is allowed, meaning."""

    name: str
    value: object
    allowed: str
    meaning: str


def list_settings(section: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """Every setting below a section, in the order of the classes."""
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        part = getattr(section, name)
        if isinstance(part, BaseModel):
            yield from list_settings(part, f"{prefix}{name}.")
        elif not field.exclude:
            allowed = ", ".join([*_kinds(field.annotation), *_bounds(field.metadata)])
            yield Setting(f"{prefix}{name}", values[name], allowed, field.description or "")


def by_dotted_name(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of sections inside sections as one dictionary: ``{"data.size": 64}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= by_dotted_name(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def unknown_setting(section: type[BaseModel], place: Sequence[str]) -> str:
    """Words for a setting that a section does not have: the nearest names, or all of them.

    place: path of the setting below the section.
    """
    *above, name = place
    known = list(_inner_section(section, above).model_fields)
    near = difflib.get_close_matches(name, known, n=2)
    if near:
        return f"unknown setting; did you mean {' or '.join(near)}?"
    return f"unknown setting; there are: {', '.join(known)}"


def _inner_section(section: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    for part in path:
        annotation = section.model_fields[part].annotation
        (section,) = (
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return section


def _kinds(annotation: Any) -> list[str]:
    """Words for a type: choices of a Literal by their values, null for None."""
    origin = get_origin(annotation)
    if annotation is type(None):
        return ["null"]
    if origin is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if origin is Annotated:
        return [*_kinds(get_args(annotation)[0]), *_bounds(get_args(annotation)[1:])]
    if origin in (Union, types.UnionType):
        return [word for kind in get_args(annotation) for word in _kinds(kind)]
    if origin is tuple:
        return [f"[{'; '.join(' '.join(_kinds(kind)) for kind in get_args(annotation))}]"]
    words = {bool: "true, false", int: "whole number", float: "number", str: "text"}
    return [words.get(annotation, "file" if "Path" in str(annotation) else "section")]


def _bounds(metadata: Sequence[Any]) -> list[str]:
    found = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            found += _bounds(item.metadata)
        elif type(item) in BOUNDS:
            sign, name = BOUNDS[type(item)]
            limit = getattr(item, name)
            if abs(limit) < SAFETY:
                found.append(f"{sign} {limit}")
    return found
