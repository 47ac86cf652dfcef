"""The interface every method offers: build networks, learn, find what is not healthy."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.models.evidence import Evidence
from a2bgan.models.inference import inference
from a2bgan.training import losses
from a2bgan.training.methods.sections import MethodConfig
from a2bgan.training.training_sets import TrainingSets

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Task = Literal["detection", "translation"]

EVIDENCE = "evidence"
"""Name of the network, in methods that have one, that separates A from B by frozen features."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts by which a user chooses a method.

    title: as it is written in print; paper: authors, where and when.
    score: the paper's score, one of ``own_scores`` or of `a2bgan.detection.scores.SCORES`.
    own_scores: the method's own image scores: not functions of the map alone.
    uses_mixed: learns from the mixed set (A) too, not from the healthy one (B) alone.
    makes_map: shows where. makes_twin: shows what the image would look like if it were healthy; the
        map is then the difference, in [0, 1], or a share of it.
    pretrained: its backbone wants weights trained on other images.
    tasks: what its paper made it for. Translators find anomalies too, if they are asked by name.
    """

    title: str
    paper: str
    score: str = "mean"
    own_scores: tuple[str, ...] = ()
    uses_mixed: bool = False
    makes_map: bool = True
    makes_twin: bool = True
    pretrained: bool = False
    tasks: tuple[Task, ...] = ("detection",)


class WhenAsked(Mapping[str, Tensor]):
    """Scores that cost something of their own: each computed, without gradients, when asked for."""

    def __init__(self, **scores: Callable[[], Tensor]) -> None:
        self._scores = scores

    @torch.no_grad()
    def __getitem__(self, name: str) -> Tensor:
        return self._scores[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._scores  # by itself it would compute the score

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)


@dataclass(frozen=True, slots=True)
class Finding:
    """Anomalies in a batch of n images, on their device.

    anomaly_map: (n, H, W), 0 or more, higher where less healthy; None from methods without maps.
    twin: (n, C, H, W) in [-1, 1], the healthy twin: a translation or a reconstruction, or None.
    mask: (n, H, W) in [0, 1], where the twin was repainted; None from methods without masks.
    scores: (n,) by name, higher is less healthy: the method's ``own_scores``, as a dictionary or
        `WhenAsked`.
    """

    anomaly_map: Tensor | None = None
    twin: Tensor | None = None
    mask: Tensor | None = None
    scores: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of training: its number, its time and its random numbers.

    step: steps done before this one.
    fraction: of the whole training that is over, in [0, 1]; schedules follow it.
    generator: this step's random numbers, on the training device; a function of seed and step.
    """

    step: int
    fraction: float
    generator: torch.Generator

    def normal(self, like: Tensor, *shape: int) -> Tensor:
        """Standard normal numbers of a shape, on the device and in the precision of ``like``."""
        return torch.randn(shape, generator=self.generator, device=like.device, dtype=like.dtype)


def linear_decay(fraction: float, start: float) -> float:
    """Factor of learning rates: 1 until a share ``start`` of training is over, then falling to 0.

    ``fraction`` is the share that is over; both in [0, 1].
    """
    return min(1.0, (1 - fraction) / (1 - start)) if start < 1 else 1.0


def halvings(fraction: float, every: float) -> float:
    """Factor of learning rates that halve after each share ``every`` of training, in (0, 1]."""
    return 0.5 ** int(fraction / every)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Compute no gradients of these networks' weights inside the block; they pass gradients on."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


def detached(terms: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Losses to report, without their graphs."""
    return {f"{prefix}{name}": term.detach() for name, term in terms.items()}


class Method(ABC):
    """A way to learn what healthy looks like: a `StepMethod`, a `PassMethod` or a `FitMethod`.

    A new method is one file with a subclass, its pydantic configuration (with a literal ``name``),
    one line in the registry and a preset.

    Args:
        config: section ``method`` of the configuration, a ``Config``.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.

    Attributes:
        memory_format: of images that are looked at and of networks that learn.
        networks: everything with weights, by the name it has in a checkpoint.
        optimizers: by the names of the networks they change; empty until `prepare` was called.

    Raises InputError if the method cannot take that size.
    """

    Config: ClassVar[type[MethodConfig]]
    facts: ClassVar[Facts]
    memory_format: ClassVar[torch.memory_format] = torch.channels_last

    def __init__(self, config: Any, channels: int, size: int) -> None:
        self.config = config
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.networks = self._build(channels, size)

    @abstractmethod
    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        """Fresh networks by name."""

    def require(self) -> None:  # noqa: B027 (most need nothing)
        """Raises InputError if something `prepare` needs (pretrained weights) is not there."""

    def prepare(self, fabric: "Fabric") -> None:
        """Put the networks on the device, ready to learn; called once before training.

        Raises InputError if something it needs (pretrained weights) is not there.
        """
        self.require()
        for network in self.networks.values():
            network.to(fabric.device)

    @property
    def evidence(self) -> Evidence | None:
        """The network `EVIDENCE`; None from methods without one."""
        network: Any = self.networks.get(EVIDENCE)
        return network  # type: ignore[no-any-return]

    @property
    def learned(self) -> str | None:
        """Sentence for the user about how far training could separate the sets, or None."""
        return None if self.evidence is None else self.evidence.summary

    @property
    def default_score(self) -> str:
        """Image score where nothing was selected: the paper's, unless overridden."""
        return self.facts.score

    @property
    def device(self) -> torch.device:
        """Device of the networks, on which images must be."""
        return next(next(iter(self.networks.values())).parameters()).device

    @property
    def ready(self) -> bool:
        """False while what finds anomalies has not been trained at all, as in a warm-up."""
        return True

    @property
    def no_better_than_chance(self) -> bool:
        """True where A and B were separated no better than by chance, on left-out patients."""
        return self.evidence is not None and self.evidence.no_better_than_chance

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Scales losses so that gradients fit into float16; None in any other precision."""
        return None

    @property
    def versions(self) -> tuple[str, ...]:
        """Sets of weights that can be used, such as raw and averaged ones; the best first."""
        return ("raw",)

    @property
    def map_scale(self) -> float:
        """Map value that pictures paint in the brightest colour."""
        return DIFFERENCE_SCALE

    @property
    def note(self) -> str | None:
        """Caveat of every result, such as features that are not the paper's."""
        return None

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        """Anomalies in images (N, C, H, W) in [-1, 1], without gradients.

        ``version`` is one of `versions`, by default the first. Networks are in evaluation mode, so
        that an image's finding does not depend on the others of its batch.
        """
        with inference(*self.networks.values()):
            x = x.contiguous(memory_format=self.memory_format)
            return self._find(x, version or self.versions[0])

    @abstractmethod
    def _find(self, x: Tensor, version: str) -> Finding:
        """`find` inside `inference`."""

    def diagnose(self, averages: Mapping[str, float]) -> str | None:
        """A warning in words, with what to try, if these recent averages look sick."""
        return None


class StepMethod(Method):
    """A method that learns by steps on random batches of B and A.

    Attributes:
        wrapped: the networks as `step` is to call them, by name, from `prepare` on; precision and
            gradients across processes are then taken care of. Only ``forward`` may be called.
        backend: of torch.compile, for the networks that learn, or None; read by `prepare`.
        finders: networks that must have taken a step before anything can be found.
    """

    backend: str | None = None
    finders: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        for network in self.networks.values():
            network.to(memory_format=self.memory_format)
        self.wrapped: dict[str, Any] = dict(self.networks)

    def prepare(self, fabric: "Fabric") -> None:
        super().prepare(fabric)
        self.fabric = fabric
        for name, network in self.networks.items():
            if any(p.requires_grad for p in network.parameters()):
                # Fabric compiles again what it has wrapped.
                compiled: Any = (
                    torch.compile(network, dynamic=False, backend=self.backend)
                    if self.backend is not None
                    else network
                )
                optimizer = self._optimizer(name, network)
                self.wrapped[name], self.optimizers[name] = fabric.setup(compiled, optimizer)
        self.rates = {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def _optimizer(self, name: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam, at the learning rate of the section named like the network, or of the method's."""
        c = self.config
        rate = getattr(c, name, c).learning_rate
        decay = getattr(c, "weight_decay", 0.0)
        return torch.optim.Adam(
            network.parameters(), rate, c.adam_betas, weight_decay=decay, fused=True
        )

    @property
    def ready(self) -> bool:
        return all(self.optimizers[name].state for name in self.finders)

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        if not self.optimizers:  # not prepared
            return None
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def begin(self, sets: TrainingSets, *, resumed: bool) -> None:
        """Look at whole sets before the first step, after `prepare`.

        ``resumed``: the weights are those of a checkpoint, and what is learned here is in them.
        """

    @abstractmethod
    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One training step on images of B and of A, each (N, C, H, W) in [-1, 1].

        Returns what is worth plotting: detached scalars by name.
        """

    def _gradient_penalty(
        self,
        name: str,
        real: Tensor,
        fake: Tensor,
        moment: Moment,
        value: Callable[[Any], Tensor] = lambda out: out,
    ) -> Tensor:
        """Equation 4 for a critic at random places between real and fake images (N, C, H, W).

        ``value`` takes the critic's value from what the network gives. Not as Fabric wraps it: in
        mixed precision that lets no gradient out of a step, and norms want float32.
        """
        mix = torch.rand(len(real), 1, 1, 1, generator=moment.generator, device=real.device)
        network = self.networks[name]
        return losses.gradient_penalty(lambda x: value(network(x)), real, fake, mix)

    def _scale_rates(self, factor: float) -> None:
        """Set all learning rates to a multiple of what they were at the start."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor

    def _descend(self, loss: Tensor, *names: str) -> None:
        """One step of the optimisers of some networks against a loss."""
        for name in names:
            self.optimizers[name].zero_grad()
        self.fabric.backward(loss)
        scaler = self.scaler
        for name in names:
            optimizer: Any = self.optimizers[name]
            if scaler is None:
                optimizer.step()
            else:
                # Not Fabric's own step: it ends with another scale of losses, by which the next
                # optimiser's gradients would be divided, though they were made with the old one.
                scaler.step(optimizer.optimizer)
        if scaler is not None:
            scaler.update()


class FitMethod(Method):
    """A method that is fitted to both sets at once, without steps."""

    @abstractmethod
    def fit(self, sets: TrainingSets) -> None:
        """Learn from the images of B and of A."""


class PassMethod(Method):
    """A method that learns from one look at every image of B, in order, without augmentation."""

    @abstractmethod
    def absorb(self, healthy: Tensor) -> None:
        """Take in the next images of B, (N, C, H, W) in [-1, 1]."""

    @abstractmethod
    def finish(self) -> None:
        """Called once after the last image."""
