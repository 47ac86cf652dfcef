import json

import pytest

from a2bgan.data.prepare.medianomaly import prepare_medianomaly
from a2bgan.data.set_counts import SetCounts

LISTS = {
    "train": {
        "0": [f"{i}.png" for i in range(6)],
        "unlabeled": {"0": ["6.png", "7.png"], "1": ["8.png", "9.png", "10.png"]},
    },
    "test": {"0": ["11.png", "12.png"], "1": ["13.png", "14.png", "15.png", "16.png"]},
}


@pytest.fixture
def write(tmp_path, put, picture):
    def make(lists=LISTS, folder="images", name="RSNA"):
        root = tmp_path / name
        put(root / "data.json", json.dumps(lists))
        for number in range(17):
            put(root / folder / f"{number}.png", picture(number))
        return root

    return make


@pytest.mark.parametrize("folder", ["images", "train_png_512"])
def test_the_sets_are_those_of_the_file(write, tmp_path, rows_of, folder):
    made = prepare_medianomaly(write(folder=folder), tmp_path / "out")
    sets = {}
    for row in rows_of(tmp_path / "out"):
        sets.setdefault((row["split"], row["label"]), set()).add(row["path"][len("images/") :])
    assert sets == {
        ("healthy", "0"): set(LISTS["train"]["0"]),
        ("mixed", "0"): set(LISTS["train"]["unlabeled"]["0"]),
        ("mixed", "1"): set(LISTS["train"]["unlabeled"]["1"]),
        ("test", "0"): set(LISTS["test"]["0"]),
        ("test", "1"): set(LISTS["test"]["1"]),
    }
    assert made.notes == []


def test_without_unlabelled_images_a_mixed_set_is_borrowed(write, tmp_path, rows_of, tally):
    lists = {"train": {"0": LISTS["train"]["0"]}, "test": LISTS["test"]}
    made = prepare_medianomaly(write(lists), tmp_path / "out")
    assert tally(rows_of(tmp_path / "out")) == SetCounts(4, 2, 2, test_normal=2, test_abnormal=2)
    assert "2 of 4 abnormal test images" in made.notes[0]


def test_mistakes_are_named_in_one_line(write, tmp_path, put, message):
    def says(root, **options):
        return message(prepare_medianomaly, root, tmp_path / "out", **options)

    root = write()
    assert says(root / "images") == (
        f"{root / 'images'}: no data.json; expected one set, such as RSNA/: data.json and the "
        "folder images/ (or train_png_512/) beside it"
    )
    write(name="VinCXR")
    assert "2 files data.json, such as RSNA/data.json and VinCXR/data.json" in says(tmp_path)
    assert says(root, mixed_share=1.5) == "mixed share 1.5: use a number between 0 and 1"
    put(root / "data.json", "{")
    assert f"{root}, data.json: not JSON" in says(root)
    put(root / "data.json", json.dumps({"train": {"0": [1]}}))
    assert f"{root}, data.json: train/0 is not a list of images" in says(root)
    put(root / "data.json", json.dumps([]))
    assert "train/0 is not a list of images" in says(root)
    put(root / "data.json", json.dumps({"train": {"0": ["1.png"]}, "test": {"0": ["1.png"]}}))
    assert "'1.png' is listed twice" in says(root)
    outside = {"train": {"0": ["../data.json"]}, "test": {"0": [], "1": []}}
    put(root / "data.json", json.dumps(outside))
    assert "none of the 1 images of data.json is there" in says(root)


def test_images_that_are_not_there_are_counted(write, tmp_path):
    root = write()
    (root / "images/0.png").unlink()
    assert prepare_medianomaly(root, tmp_path / "out").notes == [
        "1 of 17 images of data.json are not there and were left out"
    ]
