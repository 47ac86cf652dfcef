"""Methods, presets and readers that other installed packages add, by their entry points.

In a package's ``pyproject.toml``::

    [project.entry-points."a2bgan.methods"]
    mean_image = "my_package.mean_image:MeanImage"   # a subclass of Method, by method.name

    [project.entry-points."a2bgan.presets"]
    my_package = "my_package.presets"                # a package with NAME.yaml files

    [project.entry-points."a2bgan.readers"]
    raw8 = "my_package.raw8:read"                    # (Path, ReadOptions) -> Picture, for .raw8
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from a2bgan.errors import InputError

METHOD_GROUP, PRESET_GROUP, READER_GROUP = "a2bgan.methods", "a2bgan.presets", "a2bgan.readers"


@cache
def added(group: str) -> dict[str, EntryPoint]:
    """Entry points that packages add to a group, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=group)}


def provider(group: str, name: str) -> str:
    """Name and version of the package that adds something to a group; "" where none does."""
    point = added(group).get(name)
    if point is None or point.dist is None:
        return ""
    return f"{point.dist.name} {point.dist.version}"


@cache
def load(group: str, name: str) -> Any:
    """Import what a package adds. Raises InputError that names the package."""
    point = added(group)[name]
    package = "an installed package" if point.dist is None else point.dist.name
    try:
        return point.load()
    except Exception as error:  # a stranger's module may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name}, of {package}: cannot be loaded ({reason})") from None
