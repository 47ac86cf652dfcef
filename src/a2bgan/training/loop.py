"""The training loop, for every method."""

import logging
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from a2bgan.data.batches import RandomBatches, augment, to_unit_range
from a2bgan.errors import InputError
from a2bgan.models.inference import has_native_bfloat16
from a2bgan.training.allocator import keep_freed_memory
from a2bgan.training.checkpoint import (
    Position,
    find_checkpoint,
    list_checkpoints,
    load_optimizers,
    load_weights,
    read_position,
    save_checkpoint,
)
from a2bgan.training.config import Config, TrainConfig
from a2bgan.training.loggers import open_logger
from a2bgan.training.methods.method import FitMethod, Method, Moment, PassMethod, StepMethod
from a2bgan.training.run_folder import RunFolder
from a2bgan.training.samples import write_samples
from a2bgan.training.settings import by_dotted_name
from a2bgan.training.step_profile import StepProfile
from a2bgan.training.training_sets import TrainingSets

log = logging.getLogger(__name__)

TICK = 5.0
"""Seconds after which a report is due though no step is logged."""


@dataclass(frozen=True, slots=True)
class Report:
    """Progress of a training, every ``train.log_every`` steps and every `TICK` seconds.

    step: steps done; fraction: of the training that is over; steps_per_second, averages: speed and
    the method's numbers since the last logged step, no numbers in reports between those;
    warning: in words, or None.
    """

    step: int
    fraction: float
    steps_per_second: float
    averages: dict[str, float]
    warning: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a training: the method with its last weights, and whether it was interrupted.

    steps: taken by this call, without those before it was resumed.
    """

    method: Method
    position: Position
    interrupted: bool
    steps: int


def train(
    config: Config,
    healthy: np.ndarray,  # set B: (N, C, H, W) uint8 or uint16, N >= 1, usually memory-mapped
    mixed: np.ndarray,  # set A: the same; of both nothing else is ever known but patients
    run: RunFolder,  # where metrics, samples and checkpoints go
    *,
    patients: tuple[np.ndarray, np.ndarray]
    | None = None,  # of B's and A's images; None: each image has its own
    resume: bool = False,  # go on from the run's last checkpoint, if it has one
    watch: Callable[[Report], None] = lambda report: None,  # called every train.log_every steps
    validate: Callable[[Method, Position], bool] | None = None,  # at checkpoints; True: enough
    profile: StepProfile | None = None,  # records some steps of a StepMethod
) -> Outcome:
    """Train ``config.method`` on B and A until ``train.steps`` or ``train.minutes`` are over.

    A `PassMethod` looks at every image of B once instead; a `FitMethod` is fitted to both sets.

    Everything random is a function of the seed and the step, so a run that was killed and resumed
    ends, with ``train.steps`` on a CPU, with bit for bit the weights it would have had. SIGINT and
    SIGTERM end it after the current step, with a checkpoint; a method without steps, which has none
    before it has learned everything, they end at once and without one, as KeyboardInterrupt. Raises
    InputError when the run folder cannot be written, a checkpoint cannot be read, or losses or
    weights are no longer finite: no such weights are ever written.
    """
    settings, watch = config.train, _told(watch)
    fabric = _launch(settings)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    method = config.build_method()
    if isinstance(method, StepMethod):
        method.backend = settings.compile
    method.prepare(fabric)
    position = Position(step=0, seconds=0.0)
    if resume and list_checkpoints(run.checkpoints):
        checkpoint = find_checkpoint(run.checkpoints)
        load_weights(checkpoint, method)
        load_optimizers(checkpoint, method)
        position = read_position(checkpoint)
    first = position.step

    def measure_checkpoint(position: Position) -> bool:
        """True where training may end at the checkpoint just written (or resumed from)."""
        if validate is None or not method.ready:
            return False
        ended = validate(method, position) if fabric.is_global_zero else False
        return bool(fabric.broadcast(ended))

    if not isinstance(method, StepMethod):
        stopped = False
        if position.step == 0:
            sets = TrainingSets.of(healthy, mixed, patients)
            position, stopped = _whole_sets(method, sets, settings.batch_size, fabric, run, watch)
        if not stopped:
            measure_checkpoint(position)
        return Outcome(method, position, stopped, position.step - first)
    batches_b, batches_a = (
        RandomBatches(
            images,
            settings.batch_size,
            seed=2 * settings.seed + number,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        for number, images in enumerate((healthy, mixed))
    )
    generator = torch.Generator(fabric.device)
    with _full_disk_in_words(run):
        if fabric.is_global_zero:
            run.truncate_metrics(position.step)
        shown = by_dotted_name(config.model_dump(mode="json"))
        wanted = settings.logger if fabric.is_global_zero else None
        logger = open_logger(wanted, run, position.step, shown)

    begun = time.monotonic()
    method.begin(TrainingSets.of(healthy, mixed, patients), resumed=position.step > 0)
    ended = position.step > 0 and measure_checkpoint(position)
    sums: dict[str, list[Tensor]] = defaultdict(list)
    step, started = position.step, begun - position.seconds  # the beginning counts
    saved = step  # that of the last checkpoint
    logged_step, logged_at = step, time.monotonic()
    ticked_at = logged_at

    with _interruption() as interrupted, _full_disk_in_words(run), closing(logger):
        # One step at least, also where the beginning took all of the minutes.
        fraction = 0.0
        while step == 0 or (
            (fraction := _fraction(settings, step, time.monotonic() - started, fabric)) < 1
        ):
            if ended or _anyone(interrupted, fabric):
                break

            # Of each set, each image with its own random change.
            generator.manual_seed(_step_seed(settings.seed, step, fabric.global_rank))
            b, a = (
                augment(batch(step).to(fabric.device), settings.augment, generator).contiguous(
                    memory_format=torch.channels_last
                )
                for batch in (batches_b, batches_a)
            )
            numbers = method.step(b, a, Moment(step, fraction, generator))
            for name, value in numbers.items():
                sums[name].append(value)
            step += 1
            if profile is not None:
                profile.after_step(ready=method.ready, on_gpu=fabric.device.type == "cuda")

            now = time.monotonic()
            fraction = _fraction(settings, step, now - started, fabric)
            over = fraction >= 1
            if step % settings.log_every == 0 or over:
                averages = _averages(sums, fabric)
                sums.clear()
                rate = (step - logged_step) / max(now - logged_at, 1e-9)
                logged_step, logged_at = step, now
                _stop_if_not_finite(averages, step)
                if fabric.is_global_zero:
                    record = {"step": step, "seconds": round(now - started, 3), **averages}
                    run.append_metrics({**record, "steps_per_second": rate})
                    logger.log(step, averages)
                    log.info("step %d: %s", step, averages)
                    watch(Report(step, fraction, rate, averages, method.diagnose(averages)))
                ticked_at = now
            elif now - ticked_at >= TICK and fabric.is_global_zero:
                rate = (step - logged_step) / max(now - logged_at, 1e-9)
                watch(Report(step, fraction, rate, {}, None))
                ticked_at = now
            if fabric.is_global_zero and step % settings.sample_every == 0 and not over:
                write_samples(run.samples / f"step-{step:08d}.png", method, healthy, mixed)
            if step % settings.checkpoint_every == 0 and not over:
                position = Position(step, now - started)
                _stop_if_weights_are_not_finite(method, step, fabric)
                if fabric.is_global_zero:
                    save_checkpoint(run.checkpoints, method, position)
                saved = step
                ended = measure_checkpoint(position)

        position = Position(step, time.monotonic() - started)
        _stop_if_weights_are_not_finite(method, step, fabric)
        if fabric.is_global_zero:
            if not (last := run.samples / f"step-{step:08d}.png").exists():
                write_samples(last, method, healthy, mixed)
            if step > saved:
                save_checkpoint(run.checkpoints, method, position)
        stopped = _anyone(interrupted, fabric)
        if not stopped:
            measure_checkpoint(position)
        if fabric.is_global_zero:
            run.note_resources(position.seconds)
    return Outcome(method, position, stopped, step - first)


def _whole_sets(
    method: Method,
    sets: TrainingSets,
    batch_size: int,
    fabric: Fabric,
    run: RunFolder,
    watch: Callable[[Report], None],
) -> tuple[Position, bool]:
    """Train a method that takes no steps, and write the one checkpoint it leaves.

    Also returns whether a signal came while that was written. An earlier one raises
    KeyboardInterrupt at once, as there is nothing to keep.
    """
    if fabric.world_size > 1:
        raise InputError("this method looks at the images on one device: train.devices=1")
    started = time.monotonic()

    def report(done: int, count: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        watch(Report(done, done / count, rate, {}, None))

    with _interruption() as interrupted, _full_disk_in_words(run):
        steps = 1
        with _interruption(at_once=True):
            if isinstance(method, FitMethod):
                method.fit(sets)
            elif isinstance(method, PassMethod):
                starts = range(0, len(sets.healthy), batch_size)
                steps = len(starts)
                for done, start in enumerate(starts, start=1):
                    batch = to_unit_range(sets.healthy[start : start + batch_size])
                    method.absorb(batch.to(fabric.device))
                    report(done, steps)
                method.finish()
        position = Position(steps, time.monotonic() - started)
        _stop_if_weights_are_not_finite(method, steps, fabric)
        run.append_metrics({"step": steps, "seconds": round(position.seconds, 3)})
        save_checkpoint(run.checkpoints, method, position)
        run.note_resources(position.seconds)
        if isinstance(method, FitMethod):
            report(1, 1)
        return position, interrupted.is_set()


def refuse_impossible(config: Config) -> None:
    """Raises InputError where `train` would before its first step, whatever the images are.

    A size that the method does not take, devices or pretrained weights that are not there.
    """
    with _machine_in_words():
        _fabric(config.train)
    config.build_method().require()


def processes_here(settings: TrainConfig) -> int:
    """Number of processes that a training has on this machine, before they are started.

    Raises InputError where there are no such devices.
    """
    with _machine_in_words():
        return int(_fabric(settings).world_size) // settings.nodes


def _launch(settings: TrainConfig) -> Fabric:
    with _machine_in_words():
        fabric = _fabric(settings)
        fabric.launch()
    return fabric


def _fabric(settings: TrainConfig) -> Fabric:
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=_precision(settings),  # type: ignore[arg-type]
    )
    processes, cores = fabric.world_size // settings.nodes, os.cpu_count() or 1
    if fabric.device.type == "cpu" and processes > cores:
        raise ValueError(f"{processes} devices, but this machine has no GPU and {cores} cores")
    return fabric


@contextmanager
def _machine_in_words() -> Iterator[None]:
    """Turn Fabric's errors about a machine that lacks what the settings ask for into InputError."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"train.accelerator, devices, nodes or precision: {reason}") from None


def wastes_bfloat16(settings: TrainConfig) -> bool:
    """True where the settings ask for float32 and the hardware computes faster in bfloat16."""
    return settings.precision == "32-true" and _computes_in_bfloat16(settings)


def _precision(settings: TrainConfig) -> str:
    """Bfloat16 where ``auto`` finds hardware for it: elsewhere it is emulated, slowly."""
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if _computes_in_bfloat16(settings) else "32-true"


def _computes_in_bfloat16(settings: TrainConfig) -> bool:
    on_gpu = settings.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return has_native_bfloat16("cuda" if on_gpu else "cpu")


def _fraction(settings: TrainConfig, step: int, seconds: float, fabric: Fabric) -> float:
    """The share of training that is over, the same on all processes: their clocks differ."""
    if settings.steps is not None:
        return step / settings.steps
    assert settings.minutes is not None
    if fabric.world_size > 1:
        seconds = fabric.broadcast(seconds)
    return seconds / (60 * settings.minutes)


def _anyone(interrupted: threading.Event, fabric: Fabric) -> bool:
    """True where any process was interrupted: all then end after the same step."""
    if fabric.world_size == 1:
        return interrupted.is_set()
    here = torch.tensor(float(interrupted.is_set()), device=fabric.device)
    everywhere: Any = fabric.all_reduce(here, reduce_op="sum")
    return bool(everywhere > 0)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def _averages(sums: dict[str, list[Tensor]], fabric: Fabric) -> dict[str, float]:
    """Averages of the method's numbers since the last report, over all processes."""
    here = torch.stack([torch.stack(numbers).float().mean() for numbers in sums.values()])
    everywhere: Any = fabric.all_reduce(here)
    return dict(zip(sums, everywhere.tolist(), strict=True))


def _stop_if_weights_are_not_finite(method: Method, step: int, fabric: Fabric) -> None:
    """Before they become a checkpoint, which ``resume`` would go on from; on all processes."""
    broken: list[str] = []
    if fabric.is_global_zero:  # which writes
        broken = [
            f"weights of the {name}"
            for name, network in method.networks.items()
            if not all(tensor.isfinite().all() for tensor in network.state_dict().values())
        ]
    _stop_if_any(fabric.broadcast(broken), step)


def _stop_if_not_finite(averages: dict[str, float], step: int) -> None:
    _stop_if_any([name for name, number in averages.items() if not np.isfinite(number)], step)


def _stop_if_any(broken: list[str], step: int) -> None:
    """Raises InputError if losses or weights are named: they are no longer finite."""
    if broken:
        raise InputError(
            f"step {step}: {', '.join(broken)} no longer finite; start a new run with lower "
            "learning rates (config.yaml of the run names them) or train.precision=32-true"
        )


class _WatchError(Exception):
    """Carries an error of the caller's own ``watch`` past what is said of the run's disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _told(watch: Callable[[Report], None]) -> Callable[[Report], None]:
    """``watch``, whose OSError is not the run folder's."""

    def tell(report: Report) -> None:
        try:
            watch(report)
        except OSError as error:
            raise _WatchError(error) from error

    return tell


@contextmanager
def _full_disk_in_words(run: RunFolder) -> Iterator[None]:
    """Metrics, samples and TensorBoard files that cannot be written end the run as InputError."""
    try:
        yield
    except _WatchError as error:
        raise error.error from None
    except OSError as error:
        raise InputError(
            f"{run.path}: cannot be written ({error.strerror or error}); make room and resume "
            "the run"
        ) from error


@contextmanager
def _interruption(*, at_once: bool = False) -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set inside the block, where otherwise they would
    end the process.

    at_once: they raise KeyboardInterrupt, too.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals belong to the main thread; only it may catch them
        return

    def catch(number: int, frame: FrameType | None) -> None:
        event.set()
        if at_once:
            raise KeyboardInterrupt

    asked = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        asked.append(signal.SIGHUP)  # of a terminal that is closed
    before = {number: signal.signal(number, catch) for number in asked}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
