import csv
import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.generate import phantoms as phantom_module
from a2bgan.data.generate.phantoms import (
    DISEASES,
    NOTABLE_DIFFERENCE,
    SHORTCUTS,
    make_phantom,
    write_phantoms,
)
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

SMALL = {
    "size": 64,
    "healthy": 5,
    "mixed_normal": 3,
    "mixed_abnormal": 8,
    "test_normal": 4,
    "test_abnormal": 8,
}


def draw(index, kind=None, size=128):
    return make_phantom(np.random.default_rng(index), size, kind)


@pytest.fixture(scope="module")
def healthy_set():
    return [draw(index) for index in range(200)]


@pytest.fixture(scope="module")
def abnormal_set():
    return [draw(1000 + index, DISEASES[index % len(DISEASES)]) for index in range(200)]


def auroc(normal, abnormal):
    """Probability that an abnormal value exceeds a normal one, ties counted half."""
    pairs = [(a > n) + (a == n) / 2 for n, a in itertools.product(normal, abnormal)]
    return sum(pairs) / len(pairs)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_rows(manifest):
    with open(manifest, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


# --- one phantom


@pytest.mark.parametrize("kind", [None, *DISEASES])
def test_the_same_generator_state_gives_the_same_phantom(kind):
    first, second = draw(3, kind), draw(3, kind)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.twin, second.twin)
    assert np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.image, draw(4, kind).image)


def test_a_healthy_phantom_is_its_own_twin():
    healthy = draw(5)
    assert healthy.kind is None
    assert healthy.image.dtype == np.uint8 and healthy.image.shape == (128, 128)
    assert np.array_equal(healthy.image, healthy.twin)
    assert not healthy.mask.any()


@pytest.mark.parametrize("kind", DISEASES)
def test_the_twin_is_the_healthy_phantom_of_the_same_patient(kind):
    assert np.array_equal(draw(6, kind).twin, draw(6).image)


def test_image_and_twin_differ_inside_the_mask_only(abnormal_set):
    for phantom in abnormal_set:
        change = phantom.image.astype(int) - phantom.twin
        assert not change[~phantom.mask].any()
        # Rounding of both takes at most one level off the difference.
        assert (np.abs(change[phantom.mask]) >= NOTABLE_DIFFERENCE - 1).all()


@pytest.mark.parametrize("kind", DISEASES)
@pytest.mark.parametrize("size", [64, 128])
def test_the_mask_has_a_visible_size_and_stays_off_the_border(kind, size):
    for index in range(12):
        mask = draw(index, kind, size).mask
        assert 0.01 < mask.mean() < 0.20
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_most_anomalies_cover_two_to_twelve_percent(abnormal_set):
    areas = np.array([phantom.mask.mean() for phantom in abnormal_set])
    assert ((areas >= 0.02) & (areas <= 0.12)).mean() >= 0.85


def test_anomalies_stand_out_from_the_noise(abnormal_set):
    for phantom in abnormal_set:
        change = (phantom.image.astype(float) - phantom.twin)[phantom.mask]
        shown = np.ptp(np.percentile(phantom.twin, [1, 99]))
        assert change.mean() > 0.15 * shown
        assert np.percentile(change, 90) > 0.25 * shown
        # The corner is air: what varies there is noise.
        assert change.mean() > 7 * phantom.twin[:8, :8].std()


def test_mean_intensity_does_not_tell_the_classes_apart(healthy_set, abnormal_set):
    normal = [phantom.image.mean() for phantom in healthy_set]
    abnormal = [phantom.image.mean() for phantom in abnormal_set]
    assert 0.35 < auroc(normal, abnormal) < 0.65


def test_lungs_are_darker_than_heart_and_body_but_not_than_air(healthy_set):
    mean = np.mean([phantom.image for phantom in healthy_set], axis=0)
    lungs = (mean[50:70, 32:40].mean() + mean[50:70, 88:96].mean()) / 2
    assert mean[:6, :6].mean() < lungs < mean[30:60, 6:10].mean() < mean[70:80, 60:72].mean()


def test_a_large_heart_is_wider_than_any_healthy_one():
    def width(phantom):
        # The widest run of tissue about the middle, halfway between lung and heart in grey.
        rows = np.asarray(Image.fromarray(phantom.image).resize((64, 64), Image.Resampling.BOX))
        rows = rows[32:40].astype(float)
        lung, heart = np.percentile(rows[:, 12:52], 15), np.median(rows[:, 31:34])
        return ((rows[:, 10:54] - lung) / (heart - lung) > 0.6).sum(axis=1).mean()

    normal = [width(draw(index)) for index in range(40)]
    enlarged = [width(draw(index, "enlarged_heart")) for index in range(40)]
    assert auroc(normal, enlarged) > 0.95


def test_an_unknown_kind_or_a_tiny_size_is_refused():
    with pytest.raises(InputError, match="kind 'fracture' is unknown: use one of focal_opacity"):
        draw(0, "fracture")
    with pytest.raises(InputError, match="size 16 is too small: use 32 or more"):
        draw(0, None, 16)


# --- a set of phantoms


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms") / "set"
    assert write_phantoms(out, **SMALL, seed=3) == out / "manifest.csv"
    return out


def test_a_set_is_repeatable_byte_for_byte(written, tmp_path):
    write_phantoms(tmp_path / "again", **SMALL, seed=3)
    assert digests(tmp_path / "again") == digests(written)
    write_phantoms(tmp_path / "other", **SMALL, seed=4)
    other = digests(tmp_path / "other")
    assert other["images/00000.png"] != digests(written)["images/00000.png"]


def test_the_manifest_lists_every_file_once(written, tally):
    rows = read_rows(written / "manifest.csv")
    assert list(rows[0]) == ["path", "split", "label", "patient_id", "mask", "twin"]
    assert tally(rows) == SetCounts(5, 3, 8, test_normal=4, test_abnormal=8)
    listed = [row[name] for row in rows for name in ("path", "mask", "twin") if row[name]]
    assert sorted([*listed, "manifest.csv"]) == sorted(digests(written))
    assert len({row["patient_id"] for row in rows}) == len(rows)
    assert rows[7]["patient_id"] == "P00007" and rows[7]["path"] == "images/00007.png"
    for row in rows:
        assert bool(row["mask"]) == (row["label"] == "1")
        assert bool(row["twin"]) == (row["split"] == "test")


def test_the_order_of_the_rows_does_not_tell_the_class(written):
    roles = [(row["split"], row["label"]) for row in read_rows(written / "manifest.csv")]
    changes = sum(first != second for first, second in itertools.pairwise(roles))
    assert changes > 10  # sorted by role there would be 4


def test_written_twins_equal_the_image_outside_the_mask(written):
    for row in read_rows(written / "manifest.csv"):
        image = load(written / row["path"])
        assert image.shape == (64, 64)
        if row["split"] == "test":
            mask = load(written / row["mask"]) if row["mask"] else np.zeros_like(image)
            assert set(np.unique(mask)) <= {0, 255}
            differs = load(written / row["twin"]) != image
            assert not differs[mask == 0].any()
            assert differs[mask == 255].all()


def test_each_image_depends_on_its_number_and_kind_only(written):
    for index, row in enumerate(read_rows(written / "manifest.csv")):
        rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(index,)))
        if row["split"] == "test":
            assert np.array_equal(load(written / row["twin"]), make_phantom(rng, 64).image)


@pytest.fixture
def drawn(monkeypatch):
    """The kinds of the phantoms that are drawn from now on."""
    kinds = []

    def record(rng, size, kind):
        kinds.append(kind)
        return make_phantom(rng, size, kind)

    monkeypatch.setattr(phantom_module, "make_phantom", record)
    return kinds


def test_kinds_are_equally_frequent_in_each_split(tmp_path, drawn):
    write_phantoms(tmp_path / "set", **SMALL)
    rows = read_rows(tmp_path / "set" / "manifest.csv")
    counts = Counter((row["split"], kind) for row, kind in zip(rows, drawn, strict=True) if kind)
    assert counts == {(split, kind): 2 for split in ("mixed", "test") for kind in DISEASES}


def test_mixed_and_test_set_may_have_diseases_of_their_own(tmp_path, drawn):
    kinds = {"mixed_kinds": ["effusion"], "test_kinds": ["enlarged_heart"]}
    write_phantoms(tmp_path / "set", **SMALL, **kinds)
    rows = read_rows(tmp_path / "set" / "manifest.csv")
    found = {(row["split"], kind) for row, kind in zip(rows, drawn, strict=True) if kind}
    assert found == {("mixed", "effusion"), ("test", "enlarged_heart")}
    with pytest.raises(InputError, match="phantom kind 'cold' is unknown"):
        write_phantoms(tmp_path / "other", **SMALL, test_kinds=["cold"])


def test_an_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(rng, size, kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom_module, "make_phantom", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_unusable_arguments_are_named_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="0 or more"):
        write_phantoms(tmp_path / "set", healthy=-1)
    with pytest.raises(InputError, match="size 8 is too small"):
        write_phantoms(tmp_path / "set", size=8)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        write_phantoms(tmp_path, **SMALL)


# --- planted shortcuts


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return {
        shortcut: write_phantoms(folder / str(shortcut), **SMALL, shortcut=shortcut).parent
        for shortcut in (None, *SHORTCUTS)
    }


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_shortcut_is_on_the_films_of_the_diseased_alone(planted, shortcut):
    plain, changed = planted[None], planted[shortcut]
    rows = read_rows(changed / "manifest.csv")
    assert rows == read_rows(plain / "manifest.csv")
    for row in rows:
        before, after = load(plain / row["path"]).astype(float), load(changed / row["path"])
        if row["label"] == "0":
            assert np.array_equal(before, after)
        elif shortcut == "exposure":
            assert np.abs(after - 0.7 * before).max() <= 0.5 + 1e-4
        else:
            where = np.argwhere(after != before)
            assert len(where) > 20 and where.max() < 0.2 * 64
            assert (after[tuple(where.T)] == 255).all()


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_twins_share_the_film_and_the_mask_still_says_where_they_differ(planted, shortcut):
    checked = 0
    for row in read_rows(planted[shortcut] / "manifest.csv"):
        if row["twin"] and row["mask"]:
            image, twin, mask = (load(planted[shortcut] / row[k]) for k in ("path", "twin", "mask"))
            assert np.array_equal(image != twin, mask > 0)
            checked += 1
    assert checked == SMALL["test_abnormal"]


def test_an_unknown_shortcut_is_refused(tmp_path):
    with pytest.raises(InputError, match="phantom shortcut 'haste' is unknown: use one of expos"):
        write_phantoms(tmp_path / "p", **SMALL, shortcut="haste")
    assert not (tmp_path / "p").exists()
