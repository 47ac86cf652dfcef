"""Fit the evidence of A against B on cached features, with its reliability by cross-validation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from a2bgan.models.evidence import (
    LEAST_SPREAD,
    PLACES,
    Evidence,
    focal_score,
    on_one_grid,
    split,
    standardised,
)
from a2bgan.training import losses
from a2bgan.training.feature_cache import cached_features
from a2bgan.training.training_sets import TrainingSets

MOST_IMAGES = 400
"""Largest number of images of a set whose features are looked at before the first step. A linear
model gains little from more, and they take a second for five to ten of them."""

FOLDS = 8

STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 150, 32, 3e-3, 0.3
"""Training of the focal model, chosen on development rows of brain tumours and chest X-rays."""

INVERSE_REGULARISATION = 1e-3
"""Regularisation of the diffuse model (scikit-learn's ``C``), chosen there too."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Features of images: of places (N, h w, C), relative and standardised; of images (N, 2C)."""

    focal: Tensor
    diffuse: NDArray[np.float64]


def at_most(images: np.ndarray, most: int) -> np.ndarray:
    """Return the images (N, ...), or ``most`` of them drawn at random: the same rows for all arrays
    of a length."""
    if len(images) <= most:
        return images
    return images[np.sort(np.random.default_rng(0).choice(len(images), most, replace=False))]


def fit_evidence(evidence: Evidence, sets: TrainingSets, device: torch.device) -> None:
    """Fit both models of ``evidence`` to tell A from B, and weigh them by their reliability.

    Images are divided into folds by patients. A model is fitted without each fold in turn, scores
    the images of that fold, and the final model is the mean of these models. The AUROC of such
    scores, A against B, is the model's reliability; its weight is what the AUROC exceeds 0.5 by,
    less one standard error. If neither exceeds it, the focal model alone counts.

    A linear model of places is fitted by multiple-instance learning: an image is as unhealthy as
    its most suspicious places, so that the healthy places of A teach nothing false.
    """
    chosen = [
        (at_most(images, MOST_IMAGES), at_most(patients, MOST_IMAGES))  # the same rows
        for images, patients in (
            (sets.healthy, sets.healthy_patients),
            (sets.mixed, sets.mixed_patients),
        )
    ]
    features = [_features(evidence, images, device) for images, _ in chosen]
    of_places, of_images = zip(*(split(f) for f in features), strict=True)
    shape = features[0].shape[-2:]
    _set_spreads(evidence, of_places[0], of_images[0])
    b, a = (
        _Places(
            standardised(
                places.flatten(2).transpose(1, 2), evidence.focal_spread.cpu()
            ).contiguous(),
            standardised(whole - evidence.diffuse_mean.cpu(), evidence.diffuse_spread.cpu())
            .double()
            .numpy(),
        )
        for places, whole in zip(of_places, of_images, strict=True)
    )
    del features, of_places
    patients = np.concatenate([chosen[0][1], chosen[1][1]])
    fold_of = _folds(patients)
    fold_b, fold_a = fold_of[: len(b.focal)], fold_of[len(b.focal) :]

    scores_b, scores_a = np.zeros((2, len(b.focal))), np.zeros((2, len(a.focal)))
    models = []
    for fold in range(int(fold_of.max()) + 1):
        keep_b, keep_a = fold_b != fold, fold_a != fold
        if not (keep_b.any() and keep_a.any()):
            keep_b, keep_a = np.ones_like(keep_b), np.ones_like(keep_a)
        focal = _fit_focal(b.focal, a.focal, np.flatnonzero(keep_b), np.flatnonzero(keep_a), fold)
        diffuse = _fit_diffuse(b.diffuse[keep_b], a.diffuse[keep_a])
        models.append((*focal, *diffuse))
        for part, folds, scores in ((b, fold_b, scores_b), (a, fold_a, scores_a)):
            out = np.flatnonzero(folds == fold)
            odds = part.focal[out] @ focal[0] + focal[1]
            scores[0, out] = focal_score(odds.view(-1, *shape)).numpy()
            scores[1, out] = part.diffuse[out] @ diffuse[0].numpy() + float(diffuse[1])
    means = [torch.stack(values).mean(0) for values in zip(*models, strict=True)]
    for name, value in zip(
        ("focal_weight", "focal_bias", "diffuse_weight", "diffuse_bias"), means, strict=True
    ):
        getattr(evidence, name).copy_(value)
    _weigh(evidence, scores_b, scores_a, chosen[0][1], chosen[1][1])


def _features(evidence: Evidence, images: np.ndarray, device: torch.device) -> Tensor:
    """(N, C, h, w) float32 on one grid."""
    maps = cached_features(images, evidence.backbone, device=device)
    parts = [
        on_one_grid([torch.from_numpy(f[i : i + 64].astype(np.float32)) for f in maps])
        for i in range(0, len(images), 64)
    ]
    return torch.cat(parts)


def _set_spreads(evidence: Evidence, places: Tensor, whole: Tensor) -> None:
    """Measure the spread of features of healthy places and images."""
    evidence.focal_spread.copy_(places.std(dim=(0, 2, 3)) + LEAST_SPREAD)
    evidence.diffuse_mean.copy_(whole.mean(0))
    spread = whole.std(0) if len(whole) > 1 else torch.ones_like(whole[0])
    evidence.diffuse_spread.copy_(spread + LEAST_SPREAD)


def _folds(patients: np.ndarray) -> NDArray[np.int64]:
    """A fold (N,) for each image, the same for all of a patient, in an order drawn once."""
    names, numbers = np.unique(patients, return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(len(names))
    folds: NDArray[np.int64] = shuffled[numbers] % min(FOLDS, len(names))
    return folds


def _fit_focal(
    b: Tensor, a: Tensor, rows_b: np.ndarray, rows_a: np.ndarray, seed: int
) -> tuple[Tensor, Tensor]:
    """Weights (C,) and bias of a logistic model of places (N, P, C), A high, by some rows."""
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(b.shape[2], 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    adam = torch.optim.AdamW(linear.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def drawn(images: Tensor, rows: np.ndarray) -> Tensor:
        """Outputs (BATCH_SIZE, k) of the most suspicious places of images drawn at random."""
        order = torch.randint(len(rows), (BATCH_SIZE,), generator=generator)
        return losses.least_healthy(-linear(images[rows[order.numpy()]])[..., 0], PLACES)

    for _ in range(STEPS):
        loss = losses.discriminator_adversarial("logistic", drawn(b, rows_b), drawn(a, rows_a))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return linear.weight[0].detach(), linear.bias[0].detach()


def _fit_diffuse(b: NDArray[np.float64], a: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Weights (2C,) and bias of a logistic model of images (N, 2C), A high."""
    from sklearn.linear_model import LogisticRegression  # takes a while

    model = LogisticRegression(C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=500)
    model.fit(np.concatenate([b, a]), np.repeat([0, 1], [len(b), len(a)]))
    return torch.from_numpy(model.coef_[0]).float(), torch.tensor(model.intercept_[0]).float()


def _weigh(
    evidence: Evidence,
    scores_b: NDArray[np.float64],
    scores_a: NDArray[np.float64],
    patients_b: np.ndarray,
    patients_a: np.ndarray,
) -> None:
    from sklearn.metrics import roc_auc_score  # takes a while

    labels = np.repeat([0, 1], [scores_b.shape[1], scores_a.shape[1]])
    found = [roc_auc_score(labels, np.r_[b, a]) for b, a in zip(scores_b, scores_a, strict=True)]
    n, m = len(np.unique(patients_b)), len(np.unique(patients_a))
    error = math.sqrt((n + m + 1) / (12 * n * m))  # of the AUROC of a score that tells nothing
    weights = np.maximum(np.array(found) - 0.5 - error, 0)
    if not weights.any():
        weights[0] = 1
    evidence.reliability.copy_(torch.tensor(found))
    evidence.error.fill_(error)
    evidence.weights.copy_(torch.from_numpy(weights / weights.sum()))
    evidence.score_mean.copy_(torch.from_numpy(scores_b.mean(1)))
    evidence.score_spread.copy_(torch.from_numpy(scores_b.std(1)) + LEAST_SPREAD)
