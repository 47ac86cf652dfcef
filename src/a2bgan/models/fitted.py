"""Modules that one pass over healthy features fills: PaDiM's Gaussians and PatchCore's bank."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from a2bgan.errors import InputError

CHUNK = 2**22
"""Elements of covariances that are computed with at a time (16 MB)."""

QUERIES_AT_ONCE = 1024
PATCHES_AT_ONCE = 2**15
"""Patches that are compared with each other at a time, so that distances take 128 MB at most."""


class Fitted(nn.Module):
    """A module that loads buffers of any size: the amount learned differs from set to set.

    ``map_scale`` () is the map value that pictures paint in the brightest colour.
    """

    map_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("map_scale", torch.tensor(1.0))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty(saved.shape, dtype=buffer.dtype).to(buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class PositionGaussians(Fitted):
    """Mean and covariance of features at each position (PaDiM, section III.B); distances to them.

    Batches of features go to `update`, one after the other, none is kept; then `close`. Memory is
    that of one triangle of a covariance for each position, D (D + 1) / 2 floats.

    Args:
        regularisation: epsilon of equation 1, added to the covariances' diagonals.

    Attributes (buffers):
        mean: (P, D) float32, P positions row by row.
        triangles: (P, D (D + 1) / 2) float32, lower triangles; until `close` of the sums of
            products of deviations, from then on of the inverse covariances.
        count: () int64, images so far.
    """

    mean: Tensor
    triangles: Tensor
    count: Tensor

    def __init__(self, regularisation: float) -> None:
        super().__init__()
        self.regularisation = regularisation
        self.register_buffer("mean", torch.empty(0, 0))
        self.register_buffer("triangles", torch.empty(0, 0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Take in the features (N, D, h, w) float32 of N more images.

        Chan, Golub and LeVeque's (1979) merge of two sets' moments: deviations are from a mean that
        is near, so that float32 does not cancel, as it would in sums of squares.
        """
        n, d, h, w = features.shape
        if not self.triangles.numel():
            self.mean = features.new_zeros(h * w, d)
            self.triangles = features.new_zeros(h * w, d * (d + 1) // 2)
        before = int(self.count)
        lower = _lower(d, features.device)
        by_position = features.flatten(2).permute(2, 0, 1)  # (P, N, D)
        for part in self._chunks():
            x = by_position[part]
            mean = x.mean(1)
            shift = mean - self.mean[part]
            # The two means' distance is one more deviation.
            between = (before * n / (before + n)) ** 0.5 * shift
            deviations = torch.cat([x - mean[:, None], between[:, None]], 1)
            products = torch.bmm(deviations.mT, deviations).flatten(1)
            self.triangles[part] += products.index_select(1, lower)
            self.mean[part] += shift * (n / (before + n))
        self.count += n

    @torch.no_grad()
    def close(self) -> None:
        """Turn the sums into inverses of regularised covariances (equation 1), in float64.

        Raises InputError if the regularisation is too small for there to be inverses.
        """
        d = self.mean.shape[1]
        lower, whole = _lower(d), _whole(d)
        ridge = self.regularisation * torch.eye(d, dtype=torch.float64)
        denominator = max(int(self.count) - 1, 1)
        for part in self._chunks():
            sums = self.triangles[part].cpu().double()
            covariance = sums.index_select(1, whole).view(-1, d, d) / denominator + ridge
            triangle, failed = torch.linalg.cholesky_ex(covariance)
            # The sums are float32: what is added must be more than their rounding.
            if failed.any() or not triangle.isfinite().all():
                raise InputError(
                    f"method.regularisation={self.regularisation:g}: too small to invert the "
                    f"covariances of {d} channels from {int(self.count)} images; PaDiM's is 0.01"
                )
            inverse = torch.cholesky_inverse(triangle)
            inverse = inverse.flatten(1).index_select(1, lower).float()
            self.triangles[part] = inverse.to(self.triangles.device)

    @torch.no_grad()
    def distances(self, features: Tensor) -> Tensor:
        """Mahalanobis distances (N, h, w) of features (N, D, h, w) (equation 2)."""
        n, d, h, w = features.shape
        whole = _whole(d, features.device)
        by_position = features.flatten(2).permute(2, 0, 1)
        squares = features.new_empty(h * w, n)
        for part in self._chunks():
            delta = by_position[part] - self.mean[part, None]
            inverse = self.triangles[part].index_select(1, whole).view(-1, d, d)
            squares[part] = (torch.bmm(delta, inverse) * delta).sum(2)
        return squares.clamp_min(0).sqrt().T.reshape(n, h, w)

    def _chunks(self) -> Iterator[slice]:
        positions, d = self.mean.shape
        step = max(1, CHUNK // d**2)
        for start in range(0, positions, step):
            yield slice(start, start + step)


class MemoryBank(Fitted):
    """Healthy patch features, searched exactly (PatchCore, section 3.3).

    Attributes (buffers):
        patches: (M, D) float32.
    """

    patches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patches", torch.empty(0, 0))

    def fill(self, patches: Tensor) -> None:
        """Keep these patches (M, D) float32 and no others."""
        self.patches = patches

    def nearest(self, queries: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """Distances and numbers in the bank, (n, count) each, of patches nearest to (n, D).

        ``count`` is cut to the size of the bank. Nearest first.
        """
        count = min(count, len(self.patches))
        parts = torch.split(queries, QUERIES_AT_ONCE)
        numbers = torch.cat([self._numbers(part, count) for part in parts])
        gaps = queries[:, None] - self.patches[numbers]
        return torch.linalg.vector_norm(gaps, dim=2), numbers

    def _numbers(self, queries: Tensor, count: int) -> Tensor:
        """Numbers (n, count) in the bank of patches nearest to (n, D), nearest first."""
        # `cdist` has distances as differences of squares, which cancel where they are large. The
        # bank is centred a part at a time: a copy of all of it may be gigabytes.
        centre = self.patches.mean(0)
        distances, numbers = [], []
        for start in range(0, len(self.patches), PATCHES_AT_ONCE):
            part = self.patches[start : start + PATCHES_AT_ONCE] - centre
            gaps = torch.cdist(queries - centre, part)
            nearest = gaps.topk(min(count, len(part)), dim=1, largest=False)
            distances.append(nearest.values)
            numbers.append(nearest.indices + start)
        if len(numbers) == 1:
            return numbers[0]
        best = torch.cat(distances, 1).topk(count, dim=1, largest=False).indices
        return torch.cat(numbers, 1).gather(1, best)


def _lower(d: int, device: torch.device | None = None) -> Tensor:
    """Indices of the lower triangle's elements in a flattened (d, d) matrix."""
    places: Tensor = torch.tril_indices(d, d, device=device)
    return places[0] * d + places[1]


def _whole(d: int, device: torch.device | None = None) -> Tensor:
    """Indices in the lower triangle of a flattened symmetric (d, d) matrix's elements."""
    i = torch.arange(d, device=device)
    low, high = torch.minimum(i[:, None], i), torch.maximum(i[:, None], i)
    return (high * (high + 1) // 2 + low).flatten()
