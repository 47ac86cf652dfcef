import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from a2bgan.detection.decisions.selection import (
    Candidate,
    Validator,
    best_candidate,
    measure_missing,
    measure_with_labels,
    pseudo_auc,
    read_candidates,
    select_by_aucp,
    select_by_fid,
    select_by_labels,
    select_last,
    separates_nothing,
)
from a2bgan.detection.image_sets import ImageSet
from a2bgan.detection.measures.fid import FeatureNetwork
from a2bgan.detection.trained_model import load_trained, read_pick, write_selection
from a2bgan.errors import InputError
from a2bgan.training.checkpoint import Position, save_checkpoint
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder


class Brightness(FeatureNetwork):
    num_features = 2
    label = "brightness"

    def forward(self, x):
        flat = x.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1)], dim=1)


SETTINGS = [
    "data.size=32", "method.translator.width=4", "method.translator.ema=0.9",
    "method.discriminator.width=4", "method.discriminator.features=null",
]  # fmt: skip


def held_out(n: int, seed: int, square: int = 0) -> ImageSet:
    """Noise; with bright squares in the first ``square`` images."""
    images = np.random.default_rng(seed).integers(0, 120, (n, 1, 32, 32), dtype=np.uint8)
    images[:square, :, 8:20, 8:20] = 250
    return ImageSet(images, np.array([f"{seed}-{i}" for i in range(n)]))


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """Three checkpoints: one that changes nothing, one that darkens, one that brightens."""
    config = load_config("fast", None, SETTINGS)
    run = RunFolder.create(tmp_path / "run", config)
    for step, shift in ((5, 0.0), (10, -0.4), (15, 0.4)):
        method = config.build_method()
        for name in ("translator", "translator_ema"):
            method.networks[name].head.bias.data[:1] = shift
        save_checkpoint(run.checkpoints, method, Position(step, 0))
    return run


def candidate(step, auroc, score="mean", version="ema", error=0.02):
    return Candidate(step, f"step-{step:08d}", version, score, auroc, error)


def test_pseudo_auc_is_the_auroc_of_mixed_against_healthy():
    rng = np.random.default_rng(0)
    healthy, mixed = rng.normal(size=40), rng.normal(0.5, 1, size=30)
    auroc, error = pseudo_auc(healthy, mixed, np.arange(40), 100 + np.arange(30))
    assert auroc == pytest.approx(roc_auc_score([0] * 40 + [1] * 30, np.r_[healthy, mixed]))
    assert 0.04 < error < 0.09


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([candidate(1, 0.60), candidate(2, 0.80), candidate(3, 0.60)], (2, "mean", "ema")),
        ([candidate(1, 0.70), candidate(2, 0.80), candidate(3, 0.765)], (3, "mean", "ema")),
        ([candidate(2, 0.80, "top-k"), candidate(2, 0.79)], (2, "mean", "ema")),
        ([candidate(2, 0.80, "top-k"), candidate(2, 0.75)], (2, "top-k", "ema")),
        ([candidate(2, 0.80, "top-k"), candidate(1, 0.79)], (2, "top-k", "ema")),
        ([candidate(2, 0.80, version="raw"), candidate(2, 0.79)], (2, "mean", "ema")),
        ([candidate(1, 0.8, error=float("nan")), candidate(2, 0.7)], (2, "mean", "ema")),
        (
            [candidate(2, 0.8, "evidence", error=float("nan")), candidate(2, 0.7)],
            (2, "mean", "ema"),
        ),
    ],
)
def test_ties_go_to_the_later_checkpoint_and_the_paper_s_score(candidates, expected):
    pick, best = best_candidate(candidates, "aucp", "mean")
    assert (best.step, pick.score, pick.version) == expected
    assert pick.rule == "aucp"


def test_a_lucky_checkpoint_is_not_selected():
    steady = [candidate(step, 0.80) for step in (1, 2, 3, 4)]
    lucky = [candidate(1, 0.85, "top-k", "raw"), candidate(2, 0.70, "top-k", "raw")]
    pick, best = best_candidate([*steady, *lucky], "aucp", "mean")
    assert (pick.checkpoint, pick.score) == ("step-00000004", "mean")
    assert best.auroc == 0.80  # as measured
    good = [candidate(1, 0.85, "top-k", "raw"), candidate(2, 0.85, "top-k", "raw")]
    assert best_candidate([*steady, *good], "aucp", "mean")[0].score == "top-k"


def test_a_score_without_a_map_must_be_clearly_better():
    maps = [candidate(3, 0.80), candidate(3, 0.79, "smooth-max")]
    for auroc, expected in ((0.83, "mean"), (0.839, "mean"), (0.845, "evidence")):
        candidates = [*maps, candidate(3, auroc, "evidence", error=0.02)]
        assert best_candidate(candidates, "aucp", "mean")[0].score == expected
    # But the paper's own score is one that is asked for.
    latent = [candidate(3, 0.83, "latent"), *maps]
    assert best_candidate(latent, "aucp", "latent")[0].score == "latent"
    assert best_candidate([candidate(3, 0.6, "evidence")], "aucp", "mean")[0].score == "evidence"


def test_one_that_separates_all_has_no_error_and_wins_by_no_hair():
    """DeLong's error is 0 at an AUROC of 1, which says nothing of luck."""
    maps = [candidate(1, 0.99, error=0.01), candidate(3, 0.995, error=0.004)]
    perfect = candidate(3, 1.0, "evidence", error=0.0)
    assert best_candidate([*maps, perfect], "labels", "mean")[0].score == "mean"
    lucky = [candidate(1, 1.0, error=0.0), candidate(2, 1.0, error=0.0)]
    latest = candidate(3, 0.998, error=0.002)
    assert best_candidate([*lucky, latest], "labels", "mean")[1] == latest
    worse = candidate(3, 0.9, error=0.01)
    assert best_candidate([*lucky, worse], "labels", "mean")[1] in lucky
    as_good = candidate(3, 1.0, error=0.0)
    assert best_candidate([perfect, as_good], "labels", "mean")[1] == as_good


def test_beside_another_score_goes_the_best_of_the_same_map():
    others = [candidate(2, 0.90, "top-k"), candidate(3, 0.88, "top-k", "raw")]
    maps = [candidate(3, 0.70), candidate(3, 0.75, "smooth-max"), *others]
    pick, _ = best_candidate([candidate(3, 0.95, "discriminator"), *maps], "aucp", "mean")
    assert (pick.score, pick.map_score) == ("discriminator", "smooth-max")
    maps[0] = candidate(3, 0.91)
    assert best_candidate(maps, "aucp", "mean")[0].map_score == "mean"
    assert best_candidate([candidate(3, 0.9, "latent")], "aucp", "mean")[0].map_score is None


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"aucp": 0.55, "standard_error": 0.03}, True),
        ({"aucp": 0.57, "standard_error": 0.03}, False),
        ({"aucp": 0.4, "standard_error": 0.01}, True),
        ({"aucp": 0.9, "standard_error": None}, True),
        ({"auroc": 0.5, "standard_error": 0.1}, False),
        ({}, False),
    ],
)
def test_scores_two_errors_above_chance_tell_the_sets_apart(details, expected):
    assert separates_nothing(details) is expected


def test_the_checkpoint_that_separates_is_selected(run):
    validator = Validator(run, held_out(40, 0), held_out(40, 1, square=20))
    selection = select_by_aucp(run, validator)
    found = {(c.step, c.version, c.score): c.auroc for c in read_candidates(run)}
    assert len(found) == 3 * 2 * 5
    # Within two standard errors of the highest, with its neighbours; all by hand.
    first, second, third = sorted({step for step, _, _ in found})
    near = {first: (first, second), second: (first, third), third: (second, third)}
    steady = {
        (step, *line): (2 * auroc + sum(found[other, *line] for other in near[step])) / 4
        for (step, *line), auroc in found.items()
    }
    pick = selection.pick
    picked = steady[int(pick.checkpoint.removeprefix("step-")), pick.version, pick.score]
    assert picked >= max(steady.values()) - 2 * selection.details["standard_error"]
    assert selection.pick.checkpoint != "step-00000005"
    write_selection(run, selection.pick, **selection.details)
    assert read_pick(run) == selection.pick
    assert load_trained(run).pick == selection.pick
    assert load_trained(run, "5").pick.checkpoint == "step-00000005"
    assert load_trained(run, score="top-k").pick.score == "top-k"


def test_labelled_images_select_the_best_on_them(run):
    labelled, labels = held_out(40, 2, square=20), np.repeat((1, 0), 20)
    measured = measure_with_labels(run, labelled, labels)
    selection = select_by_labels(run, labelled, labels)
    assert selection.details["auroc"] >= max(c.auroc for c in measured) - 0.1
    with pytest.raises(InputError, match="labelled images of both kinds"):
        select_by_labels(run, labelled, np.ones(40))
    # Each of the patients has an abnormal image.
    slices = ImageSet(labelled.images, np.repeat(np.arange(20), 2).astype(str), slices=True)
    with pytest.raises(InputError, match="labelled patients of both kinds"):
        select_by_labels(run, slices, np.tile((1, 0), 20))


def test_the_error_of_a_single_patient_is_not_known(run):
    one = held_out(40, 0)
    one = ImageSet(one.images, np.full(40, "only"), slices=True)
    selection = select_by_aucp(run, Validator(run, one, held_out(40, 1, square=20)))
    assert selection.details["standard_error"] is None
    assert selection.pick.checkpoint == read_candidates(run)[-1].checkpoint
    assert selection.pick.score == "mean"
    assert separates_nothing(selection.details)


def test_fid_selects_the_nearest_translations(run):
    healthy = held_out(40, 3)
    darker = ImageSet(healthy.images + np.uint8(50), healthy.patients)
    selection = select_by_fid(run, healthy, darker, Brightness())
    assert selection.pick.checkpoint == "step-00000010"
    assert selection.pick.score == "mean"
    assert selection.details["features"] == "brightness"


def test_fid_of_a_single_image_is_refused(run):
    with pytest.raises(InputError, match="FID needs 2 images in each set"):
        select_by_fid(run, held_out(3, 0), held_out(1, 1), Brightness())


def test_last(run):
    assert select_last(run).pick.checkpoint == "step-00000015"


def test_a_validator_remembers_and_says_when_gains_have_ended(run):
    validator = Validator(run, held_out(30, 0), held_out(30, 1, square=15), patience=1)
    method = run.config().build_method()
    assert not validator(method, Position(5, 0))
    before = run.validation_file.read_text()
    assert not validator(method, Position(5, 0))  # as after a resume
    assert run.validation_file.read_text() == before
    assert validator(method, Position(10, 0))  # the same weights: no gain
    assert {c.step for c in read_candidates(run)} == {5, 10}
    # What a resumed training goes through once more is measured once more.
    validator(method, Position(10, 0))
    with run.validation_file.open("a") as file:
        file.write('{"step": 12, "checkp')
    assert {c.step for c in read_candidates(run)} == {5, 10}


def test_patience_does_not_watch_a_score_that_is_hardly_picked(run, monkeypatch):
    """Evidence learns no more after the beginning, while the map still gets better."""
    rising = iter((0.6, 0.7, 0.8))
    validator = Validator(run, held_out(2, 0), held_out(2, 1), patience=1)

    def measure(method, step, name):
        return [candidate(step, next(rising)), candidate(step, 0.9, "evidence")]

    monkeypatch.setattr(validator, "measure", measure)
    method = run.config().build_method()
    assert [validator(method, Position(step, 0)) for step in (5, 10, 15)] == [False] * 3


def test_checkpoints_that_training_did_not_measure_are_measured(run):
    validator = Validator(run, held_out(30, 0), held_out(30, 1, square=15))
    validator(run.config().build_method(), Position(10, 0))
    assert {c.step for c in measure_missing(run, validator)} == {5, 10, 15}
    assert {c.step for c in read_candidates(run)} == {5, 10, 15}


def test_a_damaged_selection_is_said(run):
    run.selection_file.write_text("{}")
    with pytest.raises(InputError, match="`a2bgan select` makes it anew"):
        load_trained(run)
