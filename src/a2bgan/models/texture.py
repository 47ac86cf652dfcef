"""How much structure of which size and direction an image has, and where: texture as maps."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.models.discriminator import he_initialise

SCALES = (1.0, 2.0, 4.0)
"""Widths (sigma) of the filters in pixels."""

DIRECTIONS = 6

CELL = 8
"""Side of the squares, in pixels, over which energies are averaged."""

FLOOR = 1e-3
"""Added to energies: less than this is no texture."""

SLOPE = 0.2
"""Of the discriminator's LeakyReLU."""


class TextureEnergies(nn.Module):
    """Logarithms of local energies in a fixed bank of Gabor filters, and local means.

    The energy at a scale and direction is the mean over a cell of the squared outputs of two
    filters a quarter of a wave apart (Daugman 1985); its logarithm turns contrast into a shift.
    Nothing is learned: where images are few, such features generalise better than a network's own
    (Oyallon et al., "Scaling the Scattering Transform", ICCV 2017).
    """

    columns_0: Tensor

    def __init__(self) -> None:
        super().__init__()
        for number, sigma in enumerate(SCALES):
            _, columns = separate(gabor_filters(sigma))
            self.register_buffer(f"columns_{number}", columns, persistent=False)

    @property
    def channels(self) -> int:
        """Maps for an image: one of means, one for each scale and direction."""
        return 1 + len(SCALES) * DIRECTIONS

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1], channels averaged, to (N, channels, H // CELL, W // CELL).

        Under autocast the filtering is done in its precision, logarithms and means are not: what
        half precision loses is far below the least energy that counts, `FLOOR`.
        """
        grey = x.to(self.columns_0.dtype).mean(dim=1).unsqueeze(1)
        maps = [F.avg_pool2d(grey, CELL)]
        for number, sigma in enumerate(SCALES):
            columns: Tensor = getattr(self, f"columns_{number}")
            stride = 1 if sigma < 2 else 2  # every second output of a coarse filter is enough
            margin = columns.shape[2] // 2
            along = _along_rows(grey, sigma, stride)
            along = F.pad(along, (0, 0, margin, margin), mode="reflect")
            out = F.conv2d(along, columns, stride=(stride, 1))
            power = F.avg_pool2d(out * out, CELL // stride).to(grey)
            maps.append(torch.log(power[:, ::2] + power[:, 1::2] + FLOOR))
        return torch.cat(maps, dim=1)


def _along_rows(x: Tensor, sigma: float, stride: int) -> Tensor:
    """The rows' part of a scale's filters, on x (N, 1, H, W), to (N, R, H, W / stride).

    As a product with a matrix: the gradient of a convolution of one channel is slow on CPUs.
    """
    count, _, height, width = x.shape
    # Kept on the device: from the host it would stop a GPU each time. A compiler keeps its own.
    rows = _row_tensor.__wrapped__ if torch.compiler.is_compiling() else _row_tensor
    matrix = rows(sigma, width, stride, x.device, x.dtype)
    out = x.reshape(-1, width) @ matrix.flatten(1)
    return out.reshape(count, height, *matrix.shape[1:]).permute(0, 3, 1, 2)  # channels last


@lru_cache(maxsize=16)
def _row_tensor(
    sigma: float, width: int, stride: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    return torch.from_numpy(row_matrix(sigma, width, stride)).to(device, dtype)


@lru_cache(maxsize=16)
def row_matrix(sigma: float, width: int, stride: int) -> NDArray[np.float64]:
    """(W, W / stride, R): what the rows' part of a scale's filters makes of a row, mirrored."""
    rows, _ = separate(gabor_filters(sigma))
    unit = np.eye(width)
    filtered = [correlate1d(unit, row, axis=1, mode="mirror") for row in rows[:, 0, 0].numpy()]
    return np.stack(filtered, axis=-1)[:, ::stride].copy()


def gabor_filters(sigma: float) -> Tensor:
    """Pairs of even and odd Gabor filters, (2 DIRECTIONS, 1, k, k) with odd k of about 4 sigma.

    The wave is 8/3 sigma long. The even ones have no answer to a constant.
    """
    side = int(4 * sigma) | 1
    place = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    window /= window.sum()
    filters = []
    for direction in range(DIRECTIONS):
        angle = math.pi * direction / DIRECTIONS
        phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) * 3 / (8 * sigma)
        even = window * torch.cos(phase)
        filters += [even - window * even.sum(), window * torch.sin(phase)]
    return torch.stack(filters).unsqueeze(1).float()


def separate(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Filters (F, 1, k, k) as convolutions one after the other, by their singular values.

    Returns (R, 1, 1, k) along rows and (F, R, k, 1) along columns, which together do the same with
    fewer operations; Gabor filters, of which one is a sum of few products, have R < k.
    """
    count, _, side, _ = filters.shape
    u, s, v = torch.linalg.svd(filters.double().reshape(-1, side), full_matrices=False)
    rank = int((s > 1e-6 * s[0]).sum())
    columns = (u[:, :rank] * s[:rank]).reshape(count, side, rank, 1).transpose(1, 2)
    return v[:rank].reshape(rank, 1, 1, side).to(filters), columns.contiguous().to(filters)


class TextureDiscriminator(nn.Module):
    """A small convolutional discriminator that looks at energies instead of pixels.

    Three 3x3 convolutions and a 1x1, without striding, so every cell has its own verdict on a
    neighbourhood of some 70 pixels. It begins at once with what a discriminator of pixels has to
    find first, and where images are few it overfits less.

    Args:
        width: channels of the convolutions.
    """

    mean: Tensor
    mean_square: Tensor
    batches: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.energies = TextureEnergies()
        channels = self.energies.channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("mean_square", torch.ones(channels, 1, 1))
        self.register_buffer("batches", torch.zeros(()))
        layers: list[nn.Module] = []
        for cin in (channels, width, width):
            layers += [nn.Conv2d(cin, width, 3, 1, 1), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, 1, 1, bias=False)
        he_initialise(self, SLOPE)

    @torch.no_grad()
    def refer_to(
        self, energies: Tensor, everywhere: Callable[[Tensor], Tensor] = Tensor.clone
    ) -> None:
        """Take the energies of a batch of healthy images into what texture is compared with.

        ``everywhere`` gives the mean of a tensor over all processes that train together.
        """
        moments = torch.stack([energies, energies.square()])
        mean, mean_square = everywhere(moments.mean(dim=(1, 3, 4), keepdim=True).squeeze(1))
        self.batches += 1
        self.mean.lerp_(mean, 1 / self.batches)
        self.mean_square.lerp_(mean_square, 1 / self.batches)

    def forward(self, energies: Tensor) -> Tensor:
        """What `energies` gives, to outputs of cells (N, 1, h, w); high: healthy and real."""
        spread = (self.mean_square - self.mean.square()).clamp_min(0).sqrt()
        # Where all healthy images are alike, a trifle is not a sensation.
        return self.head(self.body((energies - self.mean) / (spread + 0.05)))  # type: ignore[no-any-return]


def over_pixels(cells: Tensor, height: int, width: int) -> Tensor:
    """Outputs of cells (N, 1, h, w) at the pixels they are of, (N, 1, height, width), bilinear.

    Pixels that belong to no cell, at the lower and right edge, get the nearest one's.
    """
    fine = F.interpolate(cells, scale_factor=float(CELL), mode="bilinear")
    down, right = height - fine.shape[-2], width - fine.shape[-1]
    return F.pad(fine, (0, right, 0, down), mode="replicate") if down or right else fine
