"""A profile of training steps: time by operation."""

import json
from pathlib import Path
from typing import Self

from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

STEPS = 5
"""Whole steps that are recorded, one after the other."""

ROWS = 12
"""Operations in the table."""


class StepProfile:
    """A context that records a few steps; leaves ``trace.json`` and ``operations.md`` in a folder.

    The trace opens in a browser's ``chrome://tracing`` or in Perfetto.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table: str | None = None
        """Markdown; None until the steps are over."""
        self._profiler: profile | None = None
        self._steps = 0
        self._on_gpu = False

    def after_step(self, *, ready: bool, on_gpu: bool = False) -> None:
        """To be called after each step; begins where ``ready``, with the warm-up over."""
        if self.table is not None or not ready:
            return
        if self._profiler is None:
            self._on_gpu = on_gpu
            wanted = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_gpu else [])]
            self._profiler = profile(activities=wanted)
            self._profiler.start()
            return
        self._steps += 1
        if self._steps == STEPS:
            self._write(self._profiler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # PyTorch's profiler, left running, takes the process down at its end.
        if self._profiler is not None and self.table is None:
            self._profiler.stop()

    def _write(self, profiler: profile) -> None:
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        trace_file = self.folder / "trace.json"
        profiler.export_chrome_trace(str(trace_file))
        trace = json.loads(trace_file.read_text())
        for name in ("host_name", "traceName"):  # a run does not name its machine
            trace.pop(name, None)
        trace_file.write_text(json.dumps(trace))
        # A GPU's kernels count with the operations that start them.
        operations = [r for r in profiler.key_averages() if r.device_type == DeviceType.CPU]
        rows = [
            (r.self_device_time_total if self._on_gpu else r.self_cpu_time_total, r.key, r.count)
            for r in operations
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
