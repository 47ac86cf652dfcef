"""The training step against the step as one would first write it from the equations.

    python benchmarks/training_step.py --case fast:64:32 --case paper:64:32 --rounds 5

A case is PRESET:SIZE:WIDTH, the width of both networks. The plain step is in float32, with the
layout PyTorch uses by default, a pass for each set, G's graph built in D's step and D's gradients
computed in G's. Both have the same widths, losses and batches; before anything is timed, small
networks train both ways from the same weights in float64 and must end with the same. Then rounds of
the plain step and of ours, in float32 and in mixed bfloat16, alternate; a round is one G step with
its D steps, without the discriminators of texture. Prints a table and writes it to
docs/results/training-step.md.
"""

import argparse
import copy
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from a2bgan.models.blend import masked_reconstruction
from a2bgan.training import losses
from a2bgan.training.config import load_config
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.method import Moment


class PlainStep:
    """Equations 1 to 10 one after the other, nothing shared; starts from a method's weights."""

    def __init__(self, method: A2BGAN) -> None:
        self.config = method.config
        self.g, self.d = (
            copy.deepcopy(method.networks[name]).to(memory_format=torch.contiguous_format)
            for name in ("translator", "discriminator")
        )
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
            mix = torch.rand(len(healthy), 1, 1, 1, generator=moment.generator)
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
            size = losses.mask_size(mask, w.focus_size_power)
            focus = w.focus_size * size + w.focus_indecision * losses.mask_indecision(mask)
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


def build(preset: str, size: int, width: int, precision: str, *, double: bool = False) -> A2BGAN:
    widths = [f"method.{network}.width={width}" for network in ("translator", "discriminator")]
    settings = [f"data.size={size}", *widths, "method.discriminator.warmup_steps=0"]
    # Not in the equations:
    beyond = ("discriminator.texture_width=0", "candidates=1", "map_evidence=false")
    settings += [f"method.{setting}" for setting in beyond]
    torch.manual_seed(0)
    method = load_config(preset, None, settings).build_method()
    assert isinstance(method, A2BGAN)
    for network in method.networks.values():
        network.to(torch.float64 if double else torch.float32)
    method.prepare(Fabric(accelerator="cpu", devices=1, precision=precision))  # type: ignore[arg-type]
    return method


def batches(size: int, channels_last: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pair = torch.rand(2, 16, 1, size, size, generator=generator) * 2 - 1
    return [images.contiguous(memory_format=layout) for images in pair]


def moment(step: int) -> Moment:
    return Moment(step, 0.3, torch.Generator().manual_seed(step))


def check(preset: str) -> float:
    """Largest difference of a weight of G after two rounds in float64, of small networks."""
    method = build(preset, 32, 4, "32-true", double=True)
    plain = PlainStep(method)
    for step in range(2 * method.config.discriminator.steps):
        healthy, mixed = (images.double() for images in batches(32, channels_last=True))
        method.step(healthy, mixed, moment(step))
        plain(healthy, mixed, moment(step))
    pairs = zip(method.networks["translator"].parameters(), plain.g.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def seconds(run: object, size: int, steps: int, channels_last: bool, first: int) -> float:
    """Of one round."""
    pair = batches(size, channels_last)
    started = time.perf_counter()
    for step in range(first, first + steps):
        run(*pair, moment(step))  # type: ignore[operator]
    return time.perf_counter() - started


def measure(preset: str, size: int, width: int, rounds: int) -> str:
    if (difference := check(preset)) > 1e-7:
        raise SystemExit(f"{preset}: not the same step, weights differ by {difference:.2g}")
    single = build(preset, size, width, "32-true")
    half = build(preset, size, width, "bf16-mixed")
    steps = single.config.discriminator.steps
    runs = {"plain": PlainStep(single), "32-true": single.step, "bf16-mixed": half.step}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            took = seconds(run, size, steps, name != "plain", number * steps)
            if number:  # the first warms up
                times[name].append(took)
    cells = [preset, str(size), str(width), f"{np.median(times['plain']):.2f}"]
    for name in ("32-true", "bf16-mixed"):
        ratios = [p / t for p, t in zip(times["plain"], times[name], strict=True)]
        cells.append(f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/training-step.md"))
    args = parser.parse_args()
    cases = " ".join(f"--case {case}" for case in args.case)
    threads = os.environ.get("OMP_NUM_THREADS")
    native = "native" if torch.cpu._is_avx512_bf16_supported() else "emulated"
    lines = [
        "# The training step",
        "",
        f"`{f'OMP_NUM_THREADS={threads} ' if threads else ''}python benchmarks/training_step.py "
        f"{cases} --rounds {args.rounds}`",
        "",
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, bfloat16 {native}; batches of"
        " 16 + 16, one channel. How many times as fast as the plain step a round is: median and"
        " range of ratios within one run, in float32 and in mixed bfloat16.",
        "",
        "| preset | size | width | plain, s a round | float32 | bfloat16 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case in args.case:
        preset, size, width = case.split(":")
        lines.append(measure(preset, int(size), int(width), args.rounds))
        print(lines[-1], flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
