"""Select the checkpoint and the score that a run is used with, without labels.

The paper picks by FID and finds it the bottleneck. The default here is AUCp (Brainomaly, WACV
2024): how well a score separates held-out healthy images from held-out mixed ones.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from a2bgan.data import bounds
from a2bgan.detection.detect import all_scores
from a2bgan.detection.image_sets import ImageSet
from a2bgan.detection.measures.delong import auroc_with_error
from a2bgan.detection.measures.fid import FeatureNetwork, HealthyFeatures, require_enough
from a2bgan.detection.measures.prevalence import DiseasedShare, estimate_diseased_share
from a2bgan.detection.patient_scores import DEFAULT_PATIENT_SCORE, PATIENT_SCORES, by_patient
from a2bgan.detection.pick import Pick
from a2bgan.detection.scores import SCORES
from a2bgan.detection.trained_model import Trained, default_pick, on_device
from a2bgan.errors import UNREADABLE, InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.training.checkpoint import (
    Position,
    find_checkpoint,
    list_ready_checkpoints,
    load_weights,
)
from a2bgan.training.methods.method import Method
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint, a version of its weights and a score, with an AUROC and its standard error.

    The AUROC is AUCp, mixed against healthy, or, on a few labelled images, abnormal against normal.
    For slices, it is per patient; ``patients`` names how slice scores are combined.
    """

    step: int
    checkpoint: str
    version: str
    score: str
    auroc: float
    error: float
    patients: str = DEFAULT_PATIENT_SCORE

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Candidate":
        """The reverse of `asdict`, as read from JSON. Raises one of `UNREADABLE`."""
        found = cls(**values)
        texts = (found.checkpoint, found.version, found.score, found.patients)
        if not all(isinstance(text, str) for text in texts) or not isinstance(found.step, int):
            raise TypeError("not a candidate")
        if not (0 <= found.step <= bounds.STEPS and 0 <= found.auroc <= 1):
            raise ValueError("not a candidate")
        return replace(found, auroc=float(found.auroc), error=float(found.error))


@dataclass(frozen=True, slots=True)
class Selection:
    """A pick, and the measures behind it, by their names in ``selection.json``."""

    pick: Pick
    details: dict[str, Any]


class Validator:
    """Measures AUCp at every checkpoint of a training, and ends training when gains have ended.

    Args:
        run: its ``validation.jsonl`` gets the candidates of every checkpoint.
        healthy, mixed: held-out images, not empty.
        patience: checkpoints without a gain after which training may end; None for never.
    """

    def __init__(
        self, run: RunFolder, healthy: ImageSet, mixed: ImageSet, patience: int | None = None
    ) -> None:
        self.run = run
        self.healthy = healthy
        self.mixed = mixed
        self.patience = patience

    def __call__(self, method: Method, position: Position) -> bool:
        """Measure a checkpoint that was just written; True when training may end."""
        known = [c for c in read_candidates(self.run) if c.step <= position.step]
        if not any(c.step == position.step for c in known):
            checkpoint = find_checkpoint(self.run.checkpoints, str(position.step)).name
            known += self.measure(method, position.step, checkpoint)
            _write_candidates(self.run, known)
        if self.patience is None:
            return False
        # Patience follows the preferred scores: others are picked only when they are far ahead.
        return _stale(_preferred(known, method.default_score) or known) >= self.patience

    def measure(self, method: Method, step: int, checkpoint: str) -> list[Candidate]:
        """AUCp of every version and score of a method as it stands."""
        found = []
        for version in method.versions:
            healthy, mixed = (
                all_scores(method, part.images, version) for part in (self.healthy, self.mixed)
            )
            for score in healthy:
                for rule in _rules(self.healthy):
                    b_patients, b = _compared(self.healthy, healthy[score], rule)
                    a_patients, a = _compared(self.mixed, mixed[score], rule)
                    auroc, error = pseudo_auc(b, a, b_patients, a_patients)
                    found.append(Candidate(step, checkpoint, version, score, auroc, error, rule))
        return found


def _rules(part: ImageSet) -> Sequence[str]:
    """Patient scores to choose from: one for images that are no slices."""
    return tuple(PATIENT_SCORES) if part.slices else (DEFAULT_PATIENT_SCORE,)


def _compared(part: ImageSet, scores: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Patients and scores to compare: one a patient for slices, otherwise one an image."""
    if not part.slices:
        return part.patients, scores
    found = by_patient(part.patients, scores, rule)
    return np.array(list(found), dtype=np.str_), np.array(list(found.values()))


def pseudo_auc(
    healthy: np.ndarray, mixed: np.ndarray, healthy_patients: np.ndarray, mixed_patients: np.ndarray
) -> tuple[float, float]:
    """AUCp, the AUROC of mixed (positive) against healthy scores, and its standard error.

    With a share p of the mixed set diseased, AUCp = 1/2 + p (AUROC - 1/2): it rises and falls with
    the AUROC that labels would give.
    """
    labels = np.repeat((0, 1), (len(healthy), len(mixed)))
    scores = np.concatenate([healthy, mixed])
    return auroc_with_error(labels, scores, np.concatenate([healthy_patients, mixed_patients]))


def best_candidate(
    candidates: Sequence[Candidate], rule: str, default_score: str
) -> tuple[Pick, Candidate]:
    """Pick the candidate with the highest AUROC, averaged with its neighbours, except for ties.

    - The highest of many candidates was often lucky once, so the checkpoints before and after it,
      with the same weights and score, count half.
    - A score that comes with no map, and is not the method's default, must lie two standard errors
      above all others: few images tell scores apart less clearly than checkpoints, and a reader
      wants a score that the map agrees with.
    - Candidates within two standard errors of the highest are tied, because the highest of dozens
      leads by as much from luck alone. A tie goes to the latest checkpoint, whose learning rates
      have fallen, then to the method's default score, then to the averaged weights.

    The pick names the best score of its map too. Raises InputError without candidates.
    """
    if not candidates:
        raise InputError("no checkpoint to select from; train first")
    steady = _steadied(candidates)
    top = max(candidates, key=steady.__getitem__)
    if preferred := _preferred(candidates, default_score):
        best_preferred = max(preferred, key=steady.__getitem__)
        if _are_tied(top, best_preferred, steady):
            candidates, top = preferred, best_preferred
    tied = [c for c in candidates if _are_tied(top, c, steady)]
    best = max(
        tied, key=lambda c: (c.step, c.score == default_score, c.version == "ema", steady[c])
    )
    beside = [c for c in candidates if c.score in SCORES and _same_map(c, best)]
    of_map = max(beside, key=lambda c: (c.score == best.score, c.auroc), default=None)
    pick = Pick(
        best.checkpoint, best.version, best.score, rule, best.patients,
        None if of_map is None else of_map.score,
    )  # fmt: skip
    return pick, best


def _preferred(candidates: Sequence[Candidate], default_score: str) -> list[Candidate]:
    """The candidates with the method's default score or one of a map, which win ties."""
    return [c for c in candidates if c.score in SCORES or c.score == default_score]


def _are_tied(top: Candidate, other: Candidate, steady: Mapping[Candidate, float]) -> bool:
    """True where another candidate is within two standard errors of the top one.

    The error is the top one's, or the other's where that is 0, because all are separated. Where it
    is not known, with a single patient, all are tied.
    """
    error = top.error or other.error
    return not steady[top] - steady[other] > 2 * error


def _steadied(candidates: Sequence[Candidate]) -> dict[Candidate, float]:
    """Half of each candidate's AUROC, plus a quarter of those at the checkpoints before and after.

    The first and the last checkpoint stand in for the neighbour they lack.
    """
    lines: dict[tuple[str, str, str], list[Candidate]] = defaultdict(list)
    for c in sorted(candidates, key=lambda c: c.step):
        lines[c.version, c.score, c.patients].append(c)
    steady: dict[Candidate, float] = {}
    for line in lines.values():
        aurocs = np.array([c.auroc for c in line])
        around = np.pad(aurocs, 1, mode="edge")
        steady |= zip(line, np.convolve(around, (0.25, 0.5, 0.25), "valid").tolist(), strict=True)
    return steady


def _same_map(one: Candidate, other: Candidate) -> bool:
    return (one.step, one.version, one.patients) == (other.step, other.version, other.patients)


def select_by_aucp(run: RunFolder, validator: Validator) -> Selection:
    """The checkpoint, version and score that `best_candidate` takes by AUCp."""
    return _best(run, measure_missing(run, validator), "aucp")


def separates_nothing(details: Mapping[str, Any]) -> bool:
    """True where AUCp, as in ``selection.json``, is less than two standard errors above chance.

    True where the error is unknown, False where AUCp was not measured.
    """
    if "aucp" not in details:
        return False
    error = details["standard_error"]
    return error is None or details["aucp"] < 0.5 + 2 * error


def shown_error(details: Mapping[str, Any]) -> str:
    """The standard error in ``selection.json`` as text."""
    error = details["standard_error"]
    return "unknown" if error is None else f"{error:.3f}"


def select_by_labels(run: RunFolder, labelled: ImageSet, labels: np.ndarray) -> Selection:
    """Select as by AUCp, by the AUROC on a few labelled images: the paper's other suggestion.

    Raises InputError unless there are normal and abnormal images among them.
    """
    return _best(run, measure_with_labels(run, labelled, labels), "labels")


def measure_with_labels(run: RunFolder, labelled: ImageSet, labels: np.ndarray) -> list[Candidate]:
    """AUROC of every checkpoint, version and score on labelled images, labels (N,) 0 or 1.

    Raises InputError unless there are images of both kinds.
    """
    # A patient is abnormal when an image is.
    _, known = _compared(labelled, labels, DEFAULT_PATIENT_SCORE)
    for whose, of_all in (("images", labels), ("patients", known)):
        if len(set(of_all.tolist())) < 2:
            raise InputError(f"labelled {whose} of both kinds are needed, label 0 and label 1")
    found = []
    for step, checkpoint, method in _checkpoints(run):
        for version in method.versions:
            for score, values in all_scores(method, labelled.images, version).items():
                for rule in _rules(labelled):
                    patients, scores = _compared(labelled, values, rule)
                    auroc, error = auroc_with_error(known, scores, patients)
                    found.append(Candidate(step, checkpoint, version, score, auroc, error, rule))
    return found


def select_by_fid(
    run: RunFolder, healthy: ImageSet, mixed: ImageSet, network: FeatureNetwork
) -> Selection:
    """The checkpoint whose translations of A are nearest to B in the network's features.

    Raises InputError where the method makes no twins or a set has fewer than two images.
    """
    facts = run.config().facts
    if not facts.makes_twin:
        raise InputError(
            f"{facts.title} makes no healthy twins, which FID compares: take another rule"
        )
    require_enough(len(healthy), len(mixed))
    untrained = on_device(run.config().build_method())
    features = HealthyFeatures(healthy.images, network, untrained.device)
    found = [
        (features.distance(method, mixed.images, version), checkpoint, v)
        for _, checkpoint, method in _checkpoints(run)
        for v, version in enumerate(method.versions)
    ]
    distance, checkpoint, v = min(found)
    version = untrained.versions[v]
    return Selection(
        Pick(checkpoint, version, facts.score, "fid"),
        {"fid": distance, "features": network.label, "n_images": min(len(healthy), len(mixed))},
    )


def select_last(run: RunFolder) -> Selection:
    """The last checkpoint and the method's default score."""
    return Selection(default_pick(run), {})


def diseased_share(trained: Trained, healthy: ImageSet, mixed: ImageSet) -> DiseasedShare:
    """Estimated share of diseased images (of patients, for volumes) in the mixed set."""
    (b_patients, b), (a_patients, a) = (
        _compared(part, trained.scores(part.images), trained.pick.patients)
        for part in (healthy, mixed)
    )
    return estimate_diseased_share(b, a, b_patients, a_patients)


def _best(run: RunFolder, candidates: Sequence[Candidate], rule: str) -> Selection:
    pick, best = best_candidate(candidates, rule, default_pick(run).score)
    measure = "aucp" if rule == "aucp" else "auroc"
    error = best.error if np.isfinite(best.error) else None
    return Selection(pick, {measure: best.auroc, "standard_error": error})


def _checkpoints(run: RunFolder) -> Iterator[tuple[int, str, Method]]:
    """Step, name and method of every checkpoint after the warm-up; one method gets them in turn."""
    method = on_device(run.config().build_method())
    for checkpoint in list_ready_checkpoints(run.checkpoints):
        load_weights(checkpoint, method)
        yield int(checkpoint.name.rpartition("-")[2]), checkpoint.name, method


def measure_missing(run: RunFolder, validator: Validator) -> list[Candidate]:
    """Candidates of all checkpoints; those that training did not measure are measured now."""
    known = read_candidates(run)
    there = {path.name for path in list_ready_checkpoints(run.checkpoints)}
    known = [c for c in known if c.checkpoint in there]
    measured = {c.checkpoint for c in known}
    if there - measured:
        for step, name, method in _checkpoints(run):
            if name not in measured:
                known += validator.measure(method, step, name)
        known.sort(key=lambda c: c.step)
        _write_candidates(run, known)
    return known


def read_candidates(run: RunFolder) -> list[Candidate]:
    """The candidates measured so far; a half-written or damaged line ends the list."""
    found: list[Candidate] = []
    if run.validation_file.exists():
        for line in run.validation_file.read_text(errors="replace").splitlines():
            try:
                found.append(Candidate.from_dict(json.loads(line)))
            except UNREADABLE:
                break
    return found


def _write_candidates(run: RunFolder, candidates: Sequence[Candidate]) -> None:
    lines = "".join(json.dumps(asdict(c)) + "\n" for c in candidates)
    write_atomically(run.validation_file, lines)


def _stale(candidates: Sequence[Candidate]) -> int:
    """Number of checkpoints since the highest AUCp last rose."""
    best: dict[int, float] = {}
    for c in candidates:
        best[c.step] = max(c.auroc, best.get(c.step, 0.0))
    values = [best[step] for step in sorted(best)]
    return len(values) - 1 - int(np.argmax(values)) if values else 0
