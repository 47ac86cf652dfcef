"""The training step against the step as one would first write it from the equations.

    python benchmarks/training_step.py --case fast:64:32 --case paper:64:32 --rounds 5
    python benchmarks/training_step.py --case paper:256:64 --device cuda --compile inductor

A case is PRESET:SIZE:WIDTH, the width of both networks. The plain step is in float32, with the
layout PyTorch uses by default, a pass for each set, G's graph built in D's step and D's gradients
computed in G's. Both have the same widths, losses and batches; before anything is timed, small
networks train both ways from the same weights in float64 and must end with the same. Then rounds of
the plain step and of ours, in float32, in mixed bfloat16 and, if asked, compiled, alternate; a
round is one G step with its D steps, where D sees pixels. Prints a table and writes it to
docs/results/training-step.md.
"""

import argparse
import copy
import os
import platform
import time

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from a2bgan.files.markdown import table_row
from a2bgan.models.blend import masked_reconstruction
from a2bgan.models.discriminator import HalvingConvolution
from a2bgan.models.instance_norm import InstanceNorm2d
from a2bgan.training import losses
from a2bgan.training.config import load_config
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.method import Moment
from machine_peak import matmul_peak, synchronize
from result_page import script_parser, write_page

PYTORCHS = {InstanceNorm2d: nn.InstanceNorm2d, HalvingConvolution: nn.Conv2d}
"""Layers of ours, and those whose work they do."""


class PlainStep:
    """Equations 1 to 10 one after the other, nothing shared; starts from a method's weights."""

    def __init__(self, method: A2BGAN) -> None:
        self.config = method.config
        self.g, self.d = (
            copy.deepcopy(method.networks[name]).to(memory_format=torch.contiguous_format)
            for name in ("translator", "discriminator")
        )
        for module in [*self.g.modules(), *self.d.modules()]:
            if (plain := PYTORCHS.get(type(module))) is not None:
                module.__class__ = plain
        self.average = copy.deepcopy(self.g) if self.config.translator.ema > 0 else None
        rates = (self.config.translator.learning_rate, self.config.discriminator.learning_rate)
        self.adam_g, self.adam_d = (
            torch.optim.Adam(network.parameters(), rate, self.config.adam_betas, foreach=False)
            for network, rate in zip((self.g, self.d), rates, strict=True)
        )

    def __call__(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> None:
        w = self.config.loss
        twin = self.g(mixed).healthy
        real, fake = self.d(healthy), self.d(twin.detach())
        if self.config.discriminator.replay:
            fake = torch.cat([self.d(mixed), fake])
        loss = losses.discriminator_adversarial(w.adversarial, real, fake)
        if w.gradient_penalty > 0:
            shape, generator = (len(healthy), 1, 1, 1), moment.generator
            mix = torch.rand(shape, generator=generator, device=healthy.device)
            penalty = losses.gradient_penalty(self.d, healthy, twin, mix)
            loss = loss + w.gradient_penalty * penalty
        self._descend(self.adam_d, loss)
        if (moment.step + 1) % self.config.discriminator.steps:
            return
        twin_a, intermediate_a, mask_a = self.g(mixed)
        twin_b, intermediate_b, mask_b = self.g(healthy)
        loss = losses.translator_adversarial(w.adversarial, self.d(twin_a))
        loss = loss + losses.translator_adversarial(w.adversarial, self.d(twin_b))
        loss = loss + w.identity * losses.identity(intermediate_b, healthy)
        rebuilt = masked_reconstruction(mixed, intermediate_a, mask_a)
        loss = loss + w.reconstruction * losses.reconstruction(mixed, rebuilt)
        for mask in (mask_a, mask_b):
            focus = losses.focus([mask], w.focus_size, w.focus_indecision)
            loss = loss + w.focus / 2 * focus
        for x, twin in ((mixed, twin_a), (healthy, twin_b)):
            loss = loss + w.change / 2 * losses.change(x, twin)
        self._descend(self.adam_g, loss)
        if self.average is not None:
            self._follow(self.average, moment.step)

    def _descend(self, adam: torch.optim.Adam, loss: Tensor) -> None:
        self.g.zero_grad()
        self.d.zero_grad()
        loss.backward()
        adam.step()

    @torch.no_grad()
    def _follow(self, average: nn.Module, step: int) -> None:
        newest = max(1 - self.config.translator.ema, 1 / (1 + 0.1 * step))
        for p, q in zip(average.parameters(), self.g.parameters(), strict=True):
            p.copy_((1 - newest) * p + newest * q)


def build(
    preset: str,
    size: int,
    width: int,
    precision: str,
    device: str = "cpu",
    *,
    backend: str | None = None,
    double: bool = False,
) -> A2BGAN:
    widths = [f"method.{network}.width={width}" for network in ("translator", "discriminator")]
    settings = [f"data.size={size}", *widths, "method.discriminator.warmup_steps=0"]
    settings.append("method.discriminator.features=null")  # the equations are of pixels
    torch.manual_seed(0)
    method = load_config(preset, None, settings).build_method()
    assert isinstance(method, A2BGAN)
    for network in method.networks.values():
        network.to(torch.float64 if double else torch.float32)
    method.backend = backend
    method.prepare(Fabric(accelerator=device, devices=1, precision=precision))  # type: ignore[arg-type]
    return method


def batches(size: int, device: str, *, channels_last: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pair = torch.rand(2, 16, 1, size, size, generator=generator).to(device) * 2 - 1
    return [images.contiguous(memory_format=layout) for images in pair]


def moment(step: int, device: str) -> Moment:
    return Moment(step, 0.3, torch.Generator(device).manual_seed(step))


def check(preset: str) -> float:
    """Largest difference of a weight of G after two rounds in float64, of small networks."""
    method = build(preset, 32, 4, "32-true", double=True)
    plain = PlainStep(method)
    for step in range(2 * method.config.discriminator.steps):
        healthy, mixed = (x.double() for x in batches(32, "cpu", channels_last=True))
        method.step(healthy, mixed, moment(step, "cpu"))
        plain(healthy, mixed, moment(step, "cpu"))
    pairs = zip(method.networks["translator"].parameters(), plain.g.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


class Operations(TorchDispatchMode):
    """Counts by PyTorch's formulas; its own counter fails where gradients have gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Rounds:
    """One way of doing a step, round after round."""

    def __init__(self, step: object, steps: int, pair: list[Tensor], device: str) -> None:
        self.step, self.steps, self.pair, self.device = step, steps, pair, device
        self.done = 0
        self.seconds: list[float] = []

    def __call__(self) -> None:
        moments = [moment(self.done * self.steps + k, self.device) for k in range(self.steps)]
        synchronize(self.device)
        started = time.perf_counter()
        for now in moments:
            self.step(*self.pair, now)  # type: ignore[operator]
        synchronize(self.device)
        self.seconds.append(time.perf_counter() - started)
        self.done += 1

    def flops(self) -> float:
        """Of a round: of its convolutions and matrix products, forward and backward."""
        with Operations() as counter:
            self()
        self.seconds.clear()
        return float(counter.flops)


def measure(preset: str, size: int, width: int, args: argparse.Namespace) -> list[str]:
    """Rows of the table: the plain step, and each of our ways against it."""
    if (difference := check(preset)) > 1e-7:
        raise SystemExit(f"{preset}: not the same step, weights differ by {difference:.2g}")
    device = args.device
    single = build(preset, size, width, "32-true", device)
    half = build(preset, size, width, "bf16-mixed", device)
    steps: dict[str, object] = {"plain": PlainStep(single)}
    steps |= {"float32": single.step, "bfloat16": half.step}
    if args.compile:
        compiled = build(preset, size, width, "bf16-mixed", device, backend=args.compile)
        steps[f"bfloat16, {args.compile}"] = compiled.step
    number = single.config.discriminator.steps
    pairs = {last: batches(size, device, channels_last=last) for last in (False, True)}
    ways = {
        name: Rounds(step, number, pairs[name != "plain"], device) for name, step in steps.items()
    }
    flops = {kind: ways[kind].flops() for kind in ("plain", "float32")}
    for _ in range(args.rounds + 1):
        for way in ways.values():
            way()
    rows = []
    for name, way in ways.items():
        taken = np.array(way.seconds[1:])  # the first warms up
        ratios = np.array(ways["plain"].seconds[1:]) / taken
        kind = torch.bfloat16 if name.startswith("bfloat16") else torch.float32
        count = flops["plain" if name == "plain" else "float32"]
        share = count / np.median(taken) / matmul_peak(kind, device=device)
        cells = [preset, str(size), str(width), name, f"{count / 1e9:.0f}"]
        cells += [f"{number / np.median(taken):.3g}", f"{share:.0%}"]
        cells.append(f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        rows.append(table_row(cells))
    return rows


def main() -> None:
    parser = script_parser(__doc__, "docs/results/training-step.md")
    parser.add_argument("--case", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", help="a backend of torch.compile, such as inductor")
    args = parser.parse_args()
    options = "".join(f" --case {case}" for case in args.case) + f" --rounds {args.rounds}"
    if args.device != "cpu":
        options += f" --device {args.device}"
    if args.compile:
        options += f" --compile {args.compile}"
    threads = os.environ.get("OMP_NUM_THREADS")
    lines = [
        "# Speed of the training step",
        "",
        "How much faster is a step than one written plainly from the equations?",
        "",
        f"`{f'OMP_NUM_THREADS={threads} ' if threads else ''}python benchmarks/training_step.py"
        f"{options}`",
        "",
        f"{machine(args.device)}; batches of 16 + 16. A round is one step of G with its steps of "
        "D; a step is one of D. Of the limit: operations a second against the best matrix product "
        "in that precision.",
        "",
        "| preset | size | width | step | Gflop a round | steps/s | of the limit | times as fast |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in args.case:
        preset, size, width = case.split(":")
        rows = measure(preset, int(size), int(width), args)
        print(*rows, sep="\n", flush=True)
        lines += rows
        write_page(args.out, lines)


def machine(device: str) -> str:
    if device != "cpu":
        # What PyTorch does by itself in convolutions, which the limit is measured in too.
        return f"{torch.cuda.get_device_name()}, float32 in TF32"
    native = "native" if torch.cpu._is_avx512_bf16_supported() else "emulated"
    return f"{torch.get_num_threads()} thread(s), {platform.machine()}, bfloat16 {native}"


if __name__ == "__main__":
    main()
