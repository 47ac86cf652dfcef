"""Commands of this package in processes of their own."""

import os
import signal
import subprocess
import sys
from types import FrameType


class Children:
    """Runs commands in processes of their own, so that memory is measured apart; ends them with
    this one.

    threads: their OMP_NUM_THREADS; "" for this process's own.
    """

    def __init__(self, threads: str = "") -> None:
        self.environment = dict(os.environ)
        if threads:
            self.environment["OMP_NUM_THREADS"] = threads
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def __enter__(self) -> "Children":
        def leave(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        self._before = signal.signal(signal.SIGTERM, leave)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def end(self) -> None:
        """Have running commands write their checkpoints and stop; start no others."""
        self._ended = True
        for process in list(self._running):
            process.terminate()

    def run(self, *arguments: object) -> str:
        """Run `a2bgan` with these arguments; return the reason if that fails."""
        if self._ended:
            return "not started"
        process = subprocess.Popen(
            [sys.executable, "-m", "a2bgan.cli.app", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._running.add(process)
        try:
            _, printed = process.communicate()
        except BaseException:  # `end` ends only the processes of other threads
            process.terminate()
            process.wait()
            raise
        finally:
            self._running.discard(process)
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        if process.returncode:
            reasons = [line for line in printed.splitlines() if line.startswith("error:")]
            last = (printed.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            return (reasons[-1].removeprefix("error:") if reasons else last).strip()
        return ""
