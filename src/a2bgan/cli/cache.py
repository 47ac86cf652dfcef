"""The command `cache`: what the cache holds, and making room."""

from typing import Annotated

import typer

from a2bgan.cli.console import say


def cache(
    prune: Annotated[
        str | None,
        typer.Option(
            "--prune", metavar="SIZE", help="Remove what was used longest ago, down to this size."
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything.")] = False,
) -> None:
    """Say where decoded images are kept, how many and how large, and make room."""
    from a2bgan.data.cache import space
    from a2bgan.data.cache.folder import cache_errors_named, default_cache_dir
    from a2bgan.errors import InputError

    if prune is not None and clear:
        raise InputError("give either --prune SIZE or --clear")
    root = default_cache_dir()
    with cache_errors_named(root):
        if clear:
            say(f"{space.clear(root) / 1e6:,.0f} MB removed")
        elif prune is not None:
            say(f"{space.prune(root, space.parse_size(prune, '--prune')) / 1e6:,.0f} MB removed")
        entries = space.stored_entries(root)
    say(f"{root}: {sum(entry.size for entry in entries) / 1e6:,.0f} MB")
    for kind, what in ((space.IMAGES, "lists of images"), (space.FEATURES, "sets of features")):
        chosen = [entry for entry in entries if entry.kind == kind]
        images = ""
        if kind == space.IMAGES:
            images = f", {sum(entry.count_images() for entry in chosen):,} images"
        size = sum(entry.size for entry in chosen)
        say(f"  {len(chosen):,} {what}{images}, {size / 1e6:,.0f} MB")
