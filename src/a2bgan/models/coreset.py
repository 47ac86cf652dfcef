"""Few of many points that stand for them all: a uniform sample of a stream, and greedy k-centre."""

import numpy as np
import torch
from torch import Tensor


class Reservoir:
    """A uniform sample of at most ``size`` points of a stream (Vitter's algorithm R, 1985).

    Args:
        size: points kept.
        seed: of what is kept; the same stream leaves the same sample, however it is cut up.

    Attributes:
        seen: points so far.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._random = np.random.default_rng(seed)
        self._points = torch.empty(0)

    def add(self, points: Tensor) -> None:
        """The next points (n, D) of the stream, float32 on any device."""
        if not self.seen:
            self._points = torch.empty(self.size, points.shape[1])
        numbers = np.arange(self.seen, self.seen + len(points))
        # Point t takes place t while there is room, then a random one of t + 1, if that exists.
        drawn = np.minimum((self._random.random(len(points)) * (numbers + 1)).astype(int), numbers)
        places = np.where(numbers < self.size, numbers, drawn)
        self.seen += len(points)
        # Of several points for one place the last one stays.
        place, last = np.unique(places[::-1], return_index=True)
        kept = place < self.size
        source = len(points) - 1 - last[kept]
        chosen = points[torch.from_numpy(source).to(points.device)].cpu()
        self._points[torch.from_numpy(place[kept])] = chosen

    @property
    def points(self) -> Tensor:
        """The sample, (at most size, D) float32 on the CPU."""
        return self._points[: min(self.seen, self.size)]


def random_projection(points: Tensor, dimensions: int, generator: torch.Generator) -> Tensor:
    """Points (n, D) in ``dimensions`` dimensions, (n, dimensions), distances about the same.

    A Gaussian matrix, after Johnson and Lindenstrauss; the points themselves if they have no more
    dimensions than that.
    """
    if points.shape[1] <= dimensions:
        return points
    matrix = torch.randn(points.shape[1], dimensions, generator=generator)
    projected: Tensor = points @ (matrix / dimensions**0.5)
    return projected


def greedy_k_centre(points: Tensor, count: int, start: int) -> Tensor:
    """Indices (count,) of points that each lie farthest from those chosen before (n, D).

    The greedy minimax facility location of PatchCore, algorithm 1, from the point ``start``. Time
    is count * n * D, memory a few n.
    """
    points = points - points.mean(0)  # short vectors: the squares below cancel less
    norms = torch.linalg.vector_norm(points, dim=1).square()  # takes no copy of all
    nearest = torch.full_like(norms, torch.inf)
    chosen = []
    index = start
    for _ in range(min(count, len(points))):
        chosen.append(index)
        to_it = torch.addmv(norms, points, points[index], alpha=-2).add_(norms[index])
        torch.minimum(nearest, to_it, out=nearest)
        nearest[index] = -torch.inf
        index = int(nearest.argmax())
    return torch.tensor(chosen)
