"""The command `config`: every setting of a preset, and what it means."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from a2bgan.cli.console import stdout


class Form(StrEnum):
    """How settings are printed."""

    TEXT = "text"
    YAML = "yaml"
    MARKDOWN = "markdown"


def config(
    preset: Annotated[str, typer.Argument(help="Preset; see `a2bgan methods`.")] = "fast",
    config_file: Annotated[
        Path | None, typer.Option("--config", help="YAML file with settings that differ.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; repeatable.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="yaml: a file for `train --config`.")
    ] = Form.TEXT,
) -> None:
    """Every setting of a preset: its value, what it may be, what it means."""
    import json

    import yaml
    from rich.markup import escape

    from a2bgan.files.markdown import table_head, table_row
    from a2bgan.training.config import load_config
    from a2bgan.training.settings import list_settings

    made = load_config(preset, config_file, settings or [])
    if form is Form.YAML:
        stdout.file.write(yaml.safe_dump(made.model_dump(mode="json"), sort_keys=False))
        return
    rows = [
        (one.name, json.dumps(one.value).strip('"'), one.allowed, one.meaning)
        for one in list_settings(made)
    ]
    if form is Form.MARKDOWN:
        lines = table_head(["setting", "value", "may be", "meaning"])
        lines += [table_row([f"`{name}`", *rest]) for name, *rest in rows]
        stdout.file.write("\n".join(lines) + "\n")
        return
    for name, value, allowed, meaning in rows:
        stdout.print(f"[bold]{name}[/] = {escape(value)}", highlight=False, soft_wrap=True)
        stdout.print(f"    {escape('; '.join(filter(None, [allowed, meaning])))}", style="dim")
