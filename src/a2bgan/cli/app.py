"""The command `a2bgan` and its entry point."""

import sys
import warnings
from typing import Annotated

import typer
from rich.markup import escape

from a2bgan.cli import (
    benchmark,
    cache,
    config,
    data,
    dicomweb,
    evaluate,
    export,
    listen,
    predict,
    report,
    score_archive,
    select,
    serve,
    train,
    translate,
)
from a2bgan.cli.console import say, stderr, warn, with_options
from a2bgan.errors import InputError
from a2bgan.report.written_names import printable

app = typer.Typer(
    help="Find what is not healthy in medical images, from a healthy and an unannotated mixed set."
    " For research; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from a2bgan import __version__

        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_say_version
        ),
    ] = False,
) -> None:
    pass


app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("select")(select.select)
app.command("calibrate")(select.calibrate)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("score-archive")(score_archive.score_archive)
app.command("translate")(translate.translate)
app.command("fid")(translate.fid)
app.command("export")(export.export)
app.command("figure")(report.figure)
app.command("report")(report.report)
app.command("compare")(evaluate.compare)
app.command("serve")(serve.serve)
app.command("listen")(listen.listen)
app.add_typer(dicomweb.app, name="dicomweb")
app.command("benchmark")(benchmark.benchmark)
app.command("methods")(benchmark.methods)
app.command("config")(config.config)
app.command("cache")(cache.cache)


def main() -> None:
    """Run the command. An InputError becomes one line and exit code 1; a warning, one line."""
    warnings.showwarning = lambda message, *_, **__: warn(" ".join(str(message).split()))
    try:
        app()
    except InputError as error:
        shown = escape(printable(with_options(str(error))))
        stderr.print(f"[bold red]error:[/] {shown}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
