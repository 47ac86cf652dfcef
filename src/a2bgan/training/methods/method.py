"""The interface every method offers: build networks, learn, find what is not healthy."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.training import losses
from a2bgan.training.training_sets import TrainingSets

Task = Literal["detection", "translation"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a user asks before choosing a method.

    title: as it is written in print; paper: authors, where and when.
    score: the paper's score, one of ``own_scores`` or of `a2bgan.detection.scores.SCORES`.
    own_scores: image scores that do not come from a map.
    uses_mixed: learns from the mixed set (A) too, not from the healthy one (B) alone.
    makes_map: says where. makes_twin: shows what the image would look like if it were healthy; the
        map is then the difference, in [0, 1], or a share of it.
    pretrained: its backbone wants weights trained on other images.
    tasks: what its paper made it for. Translators find anomalies too, if they are asked by name.
    """

    title: str
    paper: str
    score: str
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
    """What a method finds in a batch of n images, on their device.

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
    """Where training stands at one step.

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


class Section(BaseModel):
    """A part of a configuration; unknown settings are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodConfig(Section):
    """Section ``method`` of a configuration; each method adds its own."""

    name: str


_AdamBeta = Annotated[float, Field(ge=0, lt=1)]
AdamBetas = tuple[_AdamBeta, _AdamBeta]

DecayFrom = Annotated[
    float,
    Field(ge=0, le=1, description="share of training after which rates fall linearly to zero"),
]


def linear_decay(fraction: float, start: float) -> float:
    """Factor of learning rates: 1 until a share ``start`` of training is over, then falling to 0.

    ``fraction`` is the share that is over; both in [0, 1].
    """
    return min(1.0, (1 - fraction) / (1 - start)) if start < 1 else 1.0


def halvings(fraction: float, every: float) -> float:
    """Factor of learning rates that halve after each share ``every`` of training, in (0, 1]."""
    return 0.5 ** int(fraction / every)


class Method(ABC):
    """A way to learn what healthy looks like: a `StepMethod`, a `PassMethod` or a `FitMethod`.

    A new method is one file with a subclass, its pydantic configuration (with a literal ``name``),
    one line in the registry and a preset.
    """

    Config: ClassVar[type[MethodConfig]]
    facts: ClassVar[Facts]
    networks: dict[str, nn.Module]
    """Everything with weights, by the name it has in a checkpoint."""
    optimizers: dict[str, torch.optim.Optimizer]
    """Empty until `prepare` was called; by the names of the networks they change."""

    @abstractmethod
    def __init__(self, config: Any, channels: int, size: int) -> None:
        """Fresh networks for images of 1 or 3 channels and ``size`` pixels a side.

        Raises InputError if the method cannot take that size.
        """

    def require(self) -> None:  # noqa: B027 (most need nothing)
        """Raises InputError if something `prepare` needs (pretrained weights) is not there."""

    @abstractmethod
    def prepare(self, fabric: Fabric) -> None:
        """Put the networks on the device and make the optimisers; called once before training.

        Raises InputError if something it needs (pretrained weights) is not there.
        """

    @property
    def learned(self) -> str | None:
        """What training found out about the sets, in a sentence for the user, or None."""
        return None

    @property
    def default_score(self) -> str:
        """The image score where nothing was selected: the paper's, unless overridden. It may depend
        on the weights."""
        return self.facts.score

    @property
    def device(self) -> torch.device:
        """Where the networks are, and where images are to be."""
        return next(next(iter(self.networks.values())).parameters()).device

    @property
    def ready(self) -> bool:
        """False while what finds anomalies has not been trained at all, as in a warm-up."""
        return True

    @property
    def told_apart_by_chance(self) -> bool:
        """Whether the method found that it tells A from B of patients that it was not fitted to no
        better than by chance."""
        return False

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """What scales losses so that gradients fit into float16; None in any other precision."""
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
        """What must be known beside every result, such as features that are not the paper's."""
        return None

    @abstractmethod
    def find(self, x: Tensor, version: str | None = None) -> Finding:
        """What is not healthy in images (N, C, H, W) in [-1, 1], without gradients.

        ``version`` is one of `versions`, by default the first. Every image is judged by itself:
        the others of the batch make no difference.
        """

    def diagnose(self, averages: Mapping[str, float]) -> str | None:
        """A warning in words, with what to try, if these recent averages look sick."""
        return None


class StepMethod(Method):
    """A method that learns by steps on random batches of B and A."""

    backend: str | None = None
    """Of torch.compile, for the networks that learn; None: they are not compiled. It counts when
    `prepare` is called."""

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
        """One training step on images of B and of A, each (batches_per_step N, C, H, W) in [-1, 1].

        Returns what is worth plotting: detached scalars by name.
        """

    def _set_up(
        self,
        fabric: Fabric,
        rates: Mapping[str, float],
        betas: tuple[float, float],
        weight_decay: float = 0.0,
    ) -> dict[str, Any]:
        """Give each network named in ``rates`` an Adam; put the others on the device, frozen.

        Returns the networks as `step` is to call them, by name: precision and gradients across
        processes are then taken care of. Only their ``forward`` may be called.
        """
        self.fabric = fabric
        self.rates = dict(rates)
        self.optimizers = {}
        wrapped: dict[str, Any] = {}
        for name, network in self.networks.items():
            if name in rates:
                adam = torch.optim.Adam(
                    network.parameters(), rates[name], betas, weight_decay=weight_decay, fused=True
                )
                wrapped[name], self.optimizers[name] = fabric.setup(self._compiled(network), adam)
            else:
                network.to(fabric.device).requires_grad_(False)
        return wrapped

    def _gradient_penalty(
        self,
        judge: str,
        real: Tensor,
        fake: Tensor,
        moment: Moment,
        value: Callable[[Any], Tensor] = lambda out: out,
    ) -> Tensor:
        """Equation 4 at random places between real and fake images (N, C, H, W).

        ``value`` takes the critic's value from what the network gives. Not as Fabric wraps it: in
        mixed precision that lets no gradient out of a step, and norms want float32.
        """
        mix = torch.rand(len(real), 1, 1, 1, generator=moment.generator, device=real.device)
        network = self.networks[judge]
        return losses.gradient_penalty(lambda x: value(network(x)), real, fake, mix)

    def _compiled(self, network: nn.Module) -> Any:
        """A network to set up with Fabric, which compiles again what it has wrapped."""
        if self.backend is None:
            return network
        return torch.compile(network, dynamic=False, backend=self.backend)

    def _set_rates(self, rates: Mapping[str, float]) -> None:
        """Change the learning rates of networks, by name."""
        for name, rate in rates.items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate

    def _scale_rates(self, factor: float) -> None:
        """Set all learning rates to a multiple of what `_set_up` was given."""
        self._set_rates({name: rate * factor for name, rate in self.rates.items()})

    def _descend(self, name: str, loss: Tensor, *others: str) -> None:
        """One step of the optimiser of a network, and of others', against a loss."""
        optimizers = [self.optimizers[each] for each in (name, *others)]
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.fabric.backward(loss)
        self._step_together(name, *others)

    def _step_together(self, *names: str) -> None:
        """A step of the optimisers of networks whose gradients come from one backward pass.

        Fabric's own steps each end with another scale of losses (in precision 16-mixed), by which
        the next optimiser's gradients would be divided, though they were made with the old one.
        """
        scaler = self.scaler
        for name in names:
            optimizer: Any = self.optimizers[name]
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer.optimizer)  # as Fabric does, but for the new scale
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
