import csv
import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.generate.squares import Simulated, simulate_squares
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

COUNTS = {
    "healthy": 6,
    "mixed_normal": 3,
    "mixed_abnormal": 5,
    "test_normal": 2,
    "test_abnormal": 4,
}
NEEDED = sum(COUNTS.values())


def make_sources(folder, count=NEEDED, side=64, colour=0, seed=0):
    """Random pictures, half of them in a sub-folder; the first `colour` of them in colour."""
    rng = np.random.default_rng(seed)
    (folder / "below").mkdir(parents=True)
    for index in range(count):
        shape = (side, side, 3) if index < colour else (side, side)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        place = folder / "below" if index % 2 else folder
        Image.fromarray(pixels).save(place / f"{1000 + index // 2:08d}_{index % 2:03d}.png")
    return folder


def load(path):
    with Image.open(path) as image:
        return np.asarray(image)


def read_rows(manifest):
    with open(manifest, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("grey") / "sources")


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "set"
    assert simulate_squares(sources, out, **COUNTS, seed=1) == Simulated(out / "manifest.csv", [])
    return out


def test_a_set_is_repeatable_byte_for_byte(sources, written, tmp_path):
    simulate_squares(sources, tmp_path / "again", **COUNTS, seed=1)
    assert digests(tmp_path / "again") == digests(written)
    simulate_squares(sources, tmp_path / "other", **COUNTS, seed=2)
    assert digests(tmp_path / "other") != digests(written)


def test_the_manifest_lists_every_file_once(written, tally):
    rows = read_rows(written / "manifest.csv")
    assert list(rows[0]) == ["path", "split", "label", "patient_id", "mask"]
    assert tally(rows) == SetCounts(**COUNTS)
    assert [row["path"] for row in rows] == [f"images/{i:05d}.png" for i in range(NEEDED)]
    listed = [row[name] for row in rows for name in ("path", "mask") if row[name]]
    assert sorted([*listed, "manifest.csv"]) == sorted(digests(written))
    assert all(bool(row["mask"]) == (row["label"] == "1") for row in rows)


def test_squares_hold_their_mean_and_the_rest_is_the_source(sources, written):
    # Sources are 64 x 64 already, so an image is its source except for the square.
    originals = [load(path) for path in sources.rglob("*.png")]
    used = set()
    for row in read_rows(written / "manifest.csv"):
        image = load(written / row["path"])
        mask = load(written / row["mask"]) if row["mask"] else np.zeros_like(image)
        matches = [
            index
            for index, original in enumerate(originals)
            if np.array_equal(original[mask == 0], image[mask == 0])
        ]
        assert len(matches) == 1
        used.add(matches[0])
        if row["mask"]:
            top, left = np.argwhere(mask == 255).min(axis=0)
            expected = np.zeros_like(mask)
            expected[top : top + 20, left : left + 20] = 255
            assert np.array_equal(mask, expected)
            values = np.unique(image[mask == 255])
            assert values.size == 1
            assert abs(values[0] - originals[matches[0]][mask == 255].mean()) <= 0.5
    assert len(used) == NEEDED


def test_places_reach_every_border(tmp_path, sources):
    counts = dict.fromkeys(COUNTS, 0) | {"test_abnormal": NEEDED}
    simulate_squares(sources, tmp_path / "set", **counts, size=32, square=30)
    corners = {
        tuple(np.argwhere(load(path)).min(axis=0)) for path in (tmp_path / "set/masks").iterdir()
    }
    rows, columns = zip(*corners, strict=True)
    assert set(rows) == set(columns) == {0, 1, 2}


def test_images_are_centre_cropped_and_resized(tmp_path):
    pixels = np.zeros((64, 128), dtype=np.uint8)
    pixels[:, 32:96] = np.repeat(np.arange(64, dtype=np.uint8) * 2, 64).reshape(64, 64)
    (tmp_path / "sources").mkdir()
    Image.fromarray(pixels).save(tmp_path / "sources" / "wide.tif")
    counts = dict.fromkeys(COUNTS, 0) | {"healthy": 1}
    simulate_squares(tmp_path / "sources", tmp_path / "set", **counts, size=32, square=8)
    image = load(tmp_path / "set/images/00000.png")
    assert image.shape == (32, 32)
    # Rows are constant and grow evenly: no part of the black sides is left.
    assert (np.ptp(image, axis=1) <= 1).all()
    assert np.abs(image[2:-2, 0] - (np.arange(32) * 4 + 1.0)[2:-2]).max() <= 1


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    make_sources(tmp_path / "sources", colour=1)
    simulate_squares(tmp_path / "sources", tmp_path / "set", **COUNTS)
    images = [load(path) for path in sorted((tmp_path / "set/images").iterdir())]
    assert {image.shape for image in images} == {(64, 64, 3)}
    in_colour = [image for image in images if (image != image[..., :1]).any()]
    assert len(in_colour) == 1


def test_a_square_in_a_colour_image_has_the_mean_of_each_channel(tmp_path):
    make_sources(tmp_path / "sources", count=1, colour=1)
    counts = dict.fromkeys(COUNTS, 0) | {"test_abnormal": 1}
    simulate_squares(tmp_path / "sources", tmp_path / "set", **counts)
    source = load(next((tmp_path / "sources").rglob("*.png")))
    inside = load(tmp_path / "set/masks/00000.png") == 255
    image = load(tmp_path / "set/images/00000.png")
    assert np.array_equal(image[~inside], source[~inside])
    assert (np.abs(image[inside] - source[inside].mean(axis=0)) <= 0.5).all()


def test_grey_stored_as_colour_stays_grey(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    (tmp_path / "sources").mkdir()
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "sources" / "a.png")
    counts = dict.fromkeys(COUNTS, 0) | {"healthy": 1}
    simulate_squares(tmp_path / "sources", tmp_path / "set", **counts)
    assert np.array_equal(load(tmp_path / "set/images/00000.png"), pixels)


def test_patients_are_those_of_the_source_names(sources, written, tmp_path):
    patients = Counter(row["patient_id"] for row in read_rows(written / "manifest.csv"))
    assert patients == {f"{1000 + index:08d}": 2 for index in range(NEEDED // 2)}
    for path in make_sources(tmp_path / "sources", count=4).rglob("*.png"):
        path.rename(path.with_name(f"photo_{path.name}"))
    counts = dict.fromkeys(COUNTS, 0) | {"healthy": 4}
    simulated = simulate_squares(tmp_path / "sources", tmp_path / "set", **counts)
    assert len({row["patient_id"] for row in read_rows(simulated.manifest)}) == 4


def test_test_images_and_patients_can_be_given(tmp_path):
    make_sources(tmp_path / "training", count=14)
    for path in make_sources(tmp_path / "test", count=6, seed=1).rglob("*.png"):
        path.rename(path.with_name(f"test_{path.name}"))
    files = [path.name for path in tmp_path.rglob("*.png")]
    patients = {name: f"patient of {name}" for name in files}
    simulated = simulate_squares(
        tmp_path / "training",
        tmp_path / "set",
        **COUNTS,
        test_images=tmp_path / "test",
        patients=patients,
    )
    rows = read_rows(simulated.manifest)
    assert {row["patient_id"] for row in rows} == set(patients.values())
    for row in rows:
        assert row["patient_id"].startswith("patient of test_") == (row["split"] == "test")
    with pytest.raises(InputError, match=r"needs 6 images, .*below has 3"):
        simulate_squares(
            tmp_path / "training", tmp_path / "few", **COUNTS, test_images=tmp_path / "test/below"
        )


def test_unreadable_images_are_skipped_and_reported(tmp_path):
    make_sources(tmp_path / "sources", count=NEEDED)
    (tmp_path / "sources/below/empty.png").touch()
    (tmp_path / "sources/notes.txt").write_text("not an image")
    truncated = next((tmp_path / "sources").glob("*.png"))
    truncated.write_bytes(truncated.read_bytes()[:2000])
    counts = COUNTS | {"healthy": COUNTS["healthy"] - 1}
    for seed in range(3):
        simulated = simulate_squares(
            tmp_path / "sources", tmp_path / f"set{seed}", **counts, seed=seed
        )
        # Files beyond the last one needed are never read, so one of the two may be missing here.
        assert simulated.skipped
        assert set(simulated.skipped) <= {
            ("below/empty.png", "empty file"),
            (truncated.name, "truncated file"),
        }
        assert len(read_rows(simulated.manifest)) == NEEDED - 1
    with pytest.raises(InputError) as error:
        simulate_squares(tmp_path / "sources", tmp_path / "full", **COUNTS)
    assert str(error.value).startswith(
        f"needs {NEEDED} images, {tmp_path / 'sources'} has {NEEDED - 1} usable (2 skipped): "
        "lower --healthy"
    )
    assert not (tmp_path / "full").exists()


def test_copies_of_a_picture_are_used_once(tmp_path):
    sources = make_sources(tmp_path / "sources")
    for path in [*sources.rglob("*.png")]:
        (sources / f"copy-{path.name}").write_bytes(path.read_bytes())
    counts = dict.fromkeys(COUNTS, 0) | {"healthy": NEEDED}
    made = simulate_squares(sources, tmp_path / "set", **counts)
    assert len({path.read_bytes() for path in (tmp_path / "set/images").iterdir()}) == NEEDED
    assert {reason.partition(" as ")[0] for _, reason in made.skipped} == {"same picture"}


def test_unusable_arguments_are_named_in_one_line(sources, tmp_path):
    def message(images=sources, out=tmp_path / "set", **changes):
        with pytest.raises(InputError) as error:
            simulate_squares(images, out, **(COUNTS | changes))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message(images=tmp_path / "nowhere").endswith("nowhere: no such folder of images")
    assert message(healthy=1000).startswith(f"needs 1014 images, {sources} has {NEEDED}: lower")
    assert message(square=64) == "square 64 does not fit: use 1 to 63 for size 64"
    assert message(square=0).startswith("square 0 does not fit")
    assert message(size=30) == "size 30: use a multiple of 4, at least 32"
    assert message(test_normal=-1) == "numbers of images must be 0 or more"
    assert "is not empty" in message(out=sources)
    assert list(tmp_path.iterdir()) == []
