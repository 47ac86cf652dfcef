"""`a2bgan listen`."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import note, stderr, stdout
from a2bgan.cli.data_options import KeepIdentifiersOption
from a2bgan.cli.run_options import RunArgument
from a2bgan.errors import InputError, not_installed


def listen(
    run: RunArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others reach needs --allow-peer.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 11112,
    aet: Annotated[str, typer.Option(help="Own AE title.")] = "A2BGAN",
    send_to: Annotated[
        str | None,
        typer.Option(
            metavar="AET@HOST:PORT",
            help="Archive that gets the results, with the identifiers of their sources.",
            show_default="kept in the queue's folder results/",
        ),
    ] = None,
    allow_ae: Annotated[
        list[str] | None,
        typer.Option(help="AE title that may send; may be repeated.", show_default="any"),
    ] = None,
    allow_peer: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network that may send; may be repeated.",
            show_default="this machine alone",
        ),
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Folder of what is not delivered yet.", show_default="RUN/dicom-node"),
    ] = None,
    associations: Annotated[int, typer.Option(min=1, help="Associations at a time.")] = 10,
    images: Annotated[int, typer.Option(min=1, help="Images of one association.")] = 10_000,
    mib: Annotated[int, typer.Option("--mib", min=1, help="Size of one object, in MiB.")] = 256,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that a peer may say nothing.")
    ] = 30.0,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Be a DICOM node: score the images it is sent, and send the results to an archive."""
    note(f"loading {run}")  # what follows takes seconds
    try:
        from a2bgan.serving.dicom_node.node import Allowed, Limits, Node
        from a2bgan.serving.dicom_node.sender import Receiver, Sender, is_ae_title
    except ModuleNotFoundError as error:
        if error.name not in ("pynetdicom", "highdicom"):
            raise
        raise not_installed(error.name, "listen") from None
    from a2bgan.detection.decisions.calibration import usable_calibration
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.serving.addresses import is_loopback
    from a2bgan.serving.dicom_node.queue import Queue
    from a2bgan.serving.dicom_node.scorer import Scorer
    from a2bgan.serving.private_folder import open_private
    from a2bgan.training.run_folder import RunFolder

    for option, title in (("--aet", aet), *(("--allow-ae", title) for title in allow_ae or ())):
        if not is_ae_title(title):
            raise InputError(f"{option} {title}: not an AE title; give 1 to 16 ASCII characters")
    receiver = None if send_to is None else Receiver.parse(send_to)
    allowed = Allowed.parse(allow_ae or (), allow_peer or ())
    if not is_loopback(host) and not allowed.peers:
        raise InputError(
            f"--host {host}: others can reach this address; give --allow-peer, once or more"
        )
    limits = Limits(
        associations=associations, images=images, object_bytes=mib * 2**20, idle_seconds=timeout
    )
    folder = RunFolder.open(run)
    stop = threading.Event()

    def log(line: str) -> None:
        stderr.print(escape(line), soft_wrap=True, highlight=False)

    # A traceback could quote what was received.
    threading.excepthook = lambda failed: log(f"a thread failed: {failed.exc_type.__name__}")
    place = run / "dicom-node" if queue is None else queue
    with open_private(place, "DICOM node", "--queue"):
        pending = Queue(place)
        waiting = len(pending.wait(for_sending=True, seconds=0))
        if receiver is None and waiting:
            raise InputError(
                f"{place}: results of {waiting} images wait to be sent; give --send-to, or "
                "another --queue"
            )
        trained = load_trained(folder)
        calibration = usable_calibration(folder, trained.pick)
        scorer = Scorer(
            pending, trained, send=receiver is not None, keep_identifiers=keep_identifiers,
            stop=stop, log=log,
            calibration=calibration,
        )  # fmt: skip
        threads: list[threading.Thread] = [scorer]
        if receiver is not None:
            threads.append(Sender(pending, receiver, aet=aet, seconds=timeout, stop=stop, log=log))
        node = Node(pending, aet=aet, allowed=allowed, limits=limits, log=log)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with node.listening(host, port):
                said = f"{aet} listens on {host} port {port} (ends with Ctrl+C)"
                stdout.print(said, markup=False)
                for thread in threads:
                    thread.start()
                while True:  # a wait without an end could sleep through a signal
                    time.sleep(1)
        except KeyboardInterrupt:
            pass  # asked to end
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(timeout)
        pending.close()
    # Threads that pynetdicom has left for a peer that is gone would be waited for, for ever.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
