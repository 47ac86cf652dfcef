"""The command `a2bgan` and its entry point."""

import sys

import typer
from rich.markup import escape

from a2bgan.cli import (
    benchmark,
    config,
    data,
    decisions,
    detection,
    export,
    listen,
    report,
    serve,
    training,
    translation,
)
from a2bgan.cli.console import errors
from a2bgan.errors import InputError
from a2bgan.report.written_names import printable

app = typer.Typer(
    help="Find what is not healthy in medical images, from a healthy and an unannotated mixed set."
    " For research; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.command("train")(training.train)
app.command("select")(decisions.select)
app.command("calibrate")(decisions.calibrate)
app.command("evaluate")(detection.evaluate)
app.command("predict")(detection.predict)
app.command("translate")(translation.translate)
app.command("fid")(translation.fid)
app.command("export")(export.export)
app.command("figure")(detection.figure)
app.command("report")(report.report)
app.command("compare")(report.compare)
app.command("serve")(serve.serve)
app.command("listen")(listen.listen)
app.command("benchmark")(benchmark.benchmark)
app.command("methods")(benchmark.methods)
app.command("config")(config.config)


def main() -> None:
    """Run the command. What the user can mend is said in one line; exit code 1."""
    try:
        app()
    except InputError as error:
        errors.print(
            f"[bold red]error:[/] {escape(printable(str(error)))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
