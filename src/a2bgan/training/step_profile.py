"""Where the time of training steps goes, operation by operation."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

STEPS = 5
"""Whole steps that are looked at, one after the other."""

ROWS = 12
"""Operations in the table."""


class StepProfile:
    """Records a few steps; leaves ``trace.json`` and ``operations.md`` in a folder.

    The trace opens in a browser's ``chrome://tracing`` or in Perfetto.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table: str | None = None
        """Markdown; None until the steps are over."""
        self._profiler: profile | None = None
        self._steps = 0

    def after_step(self, *, ready: bool) -> None:
        """To be called after each step; begins where ``ready``, with the warm-up over."""
        if self.table is not None or not ready:
            return
        if self._profiler is None:
            on_gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._profiler = profile(activities=[ProfilerActivity.CPU, *on_gpu])
            self._profiler.start()
            return
        self._steps += 1
        if self._steps == STEPS:
            self._write(self._profiler)

    def _write(self, profiler: profile) -> None:
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json"))
        rows = [
            (row.self_device_time_total or row.self_cpu_time_total, row.key, row.count)
            for row in profiler.key_averages()
        ]
        rows.sort(reverse=True)
        total = sum(time for time, _, _ in rows) or 1
        lines = [
            f"{STEPS} steps, {total / STEPS / 1000:.0f} ms each by the sum of operations",
            "",
            "| operation | share | ms a step | calls a step |",
            "| --- | --- | --- | --- |",
        ]
        for time, name, count in rows[:ROWS]:
            of_step = f"{time / STEPS / 1000:.1f} | {count / STEPS:g}"
            lines.append(f"| {name} | {time / total:.0%} | {of_step} |")
        self.table = "\n".join(lines) + "\n"
        (self.folder / "operations.md").write_text(self.table)
