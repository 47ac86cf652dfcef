"""`a2bgan serve`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import note, stderr, stdout, warn
from a2bgan.cli.data_options import WhereOption, refuse_where_without_data
from a2bgan.cli.run_options import RunArgument
from a2bgan.errors import InputError, not_installed

if TYPE_CHECKING:
    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.inputs import Input
    from a2bgan.detection.trained_model import Trained
    from a2bgan.serving.reading_room.cases import Cases
    from a2bgan.training.run_folder import RunFolder


def serve(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Set whose test images are read, or a folder of images; by default the run's own."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="A2BGAN_TOKEN", help="Asked for in the browser; 16 characters or more."
        ),
    ] = None,
    room: Annotated[
        Path | None,
        typer.Option(help="Folder for scored cases and verdicts.", show_default="RUN/reading-room"),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Where the threshold's slider starts.")
    ] = 0.05,
    where: WhereOption = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate chain for HTTPS, a PEM file; with --key.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The certificate's key, a PEM file without a password.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="What paths begin with at a proxy, as in /room.", show_default="/")
    ] = "",
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded headers count; may be repeated.",
            show_default="none",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name that readers use, such as the proxy's; may be repeated.",
            show_default="this machine's own",
        ),
    ] = None,
) -> None:
    """Read a run's cases in the browser: worklist, healthy twins, threshold, verdicts."""
    note(f"loading {run}")  # what follows takes seconds
    try:
        from a2bgan.serving.reading_room import http_server
        from a2bgan.serving.reading_room.app import make_app
        from a2bgan.serving.reading_room.room import Room
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "fastapi", "starlette"):
            raise
        raise not_installed(error.name, "serve") from None
    from a2bgan.data.tag_filter import TagFilter
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.serving.addresses import parse_networks
    from a2bgan.serving.private_folder import open_private
    from a2bgan.serving.reading_room.access import Access
    from a2bgan.serving.reading_room.cases import find_cases
    from a2bgan.serving.reading_room.verdicts import Verdicts
    from a2bgan.training.checkpoint import list_checkpoints
    from a2bgan.training.run_folder import RunFolder

    if data is None:
        refuse_where_without_data(where)
    chosen = TagFilter(where) if where else None
    folder = RunFolder.open(run)
    proxies = parse_networks("--proxy", proxy or ())
    access = Access(
        host, port, token, names=name or (), root_path=root_path, proxied=bool(proxies)
    )  # fmt: skip
    if (certificate is None) != (key is None):
        raise InputError("--certificate and --key belong together; give both")
    tls = None if certificate is None or key is None else (certificate, key)
    if tls is not None:
        http_server.check_certificate(*tls)
    with open_private(
        run / "reading-room" if room is None else room, "reading room", "--room"
    ) as place:
        verdicts = Verdicts(place / "verdicts.sqlite")
        trained, cases, calibration = None, None, None
        if list_checkpoints(folder.checkpoints):
            trained = load_trained(folder)
            inputs = find_cases(folder, data, chosen)
            cases = _open_cases(place, trained, inputs)
            calibration = _calibration(folder, trained)
        else:
            stderr.print(
                "no checkpoint yet: only the training is shown; start again when it has ended"
            )
        app = make_app(
            Room(folder, place, verdicts, trained, cases, calibration, fpr),
            access,
            log=lambda line: stderr.print(escape(line), soft_wrap=True, highlight=False),
        )
        with http_server.listen(host, port, proxies=proxies, encrypted=tls is not None) as door:
            address = f"[{host}]" if ":" in host else host
            scheme = "http" if tls is None else "https"
            stdout.print(f"reading room: {scheme}://{address}:{port}/  (ends with Ctrl+C)")
            try:
                http_server.run(http_server.make_server(app, door, proxies=proxies, tls=tls), door)
            except KeyboardInterrupt:
                pass  # asked to end, and it has ended
            finally:
                verdicts.close()


def _open_cases(room: Path, trained: "Trained", inputs: "Sequence[Input]") -> "Cases":
    """The cases, scored before the server starts where that was not done, with a bar."""
    from rich.progress import Progress

    from a2bgan.serving.reading_room.cases import open_cases

    with Progress(console=stderr, transient=True) as bar:
        task = bar.add_task("scoring", total=len(inputs), visible=False)
        cases = open_cases(
            room, trained, inputs, lambda done: bar.update(task, completed=done, visible=True)
        )  # fmt: skip
    failed = sum(case.score is None for case in cases.cases)
    stdout.print(f"{len(cases) - failed} cases, {failed} that could not be scored")
    return cases


def _calibration(run: "RunFolder", trained: "Trained") -> "Calibration | None":
    from a2bgan.detection.decisions.calibration import usable_calibration

    calibration = usable_calibration(run, trained.pick)
    if calibration is None:
        command = shlex.join(["a2bgan", "calibrate", str(run)])
        warn(f"`{command}` sets one; scores alone are shown", "no threshold")
    return calibration
