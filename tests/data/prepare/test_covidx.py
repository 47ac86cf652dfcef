import pytest

from a2bgan.data.manifest import read_manifest
from a2bgan.data.prepare.covidx import PAPER, prepare_covidx
from a2bgan.data.set_counts import SetCounts

COUNTS = SetCounts(10, 4, 2, test_normal=3, test_abnormal=3)

# Patients with a space, names with brackets and capitals, lines without a source: as published.
POSITIVE = [
    ("COVID 1", "COVID(1).png", "sirm"),
    ("COVID 2", "COVID(2).png", "sirm"),
    ("419639-003251", "MIDRC-RICORD-1C-419639-003251-46647-0.png", "ricord"),
]
TEST = [
    ("ANON193", "CR.1.2.840.113564.png", "negative", "actmed"),
    ("t1", "t1.png", "negative", "rsna"),
    ("210", "16745_2_1.PNG", "negative", "cohen"),
    ("COVID 70", "COVID(70).png", "positive", "sirm"),
    ("COVID 72", "COVID(72).png", "positive", "sirm"),
    ("COVID 77", "COVID(77).png", "positive", "sirm"),
]


def lines(rows):
    return "".join(" ".join(row) + "\n" for row in rows)


@pytest.fixture
def root(tmp_path, put, picture):
    """16 negative images, one of a patient of the test set, and 3 positive ones; 3 + 3 in test."""
    training = [(f"p{i}", f"{i}.jpg", "negative", "rsna") for i in range(15)]
    training += [("ANON193", "again.jpg", "negative", "actmed")]
    training += [(patient, file, "positive", source) for patient, file, source in POSITIVE]
    folder = tmp_path / "covidx"
    put(folder / "train.txt", lines(training))
    put(folder / "test.txt", lines(TEST))
    for side, rows in (("train", training), ("test", TEST)):
        for number, row in enumerate(rows):
            put(folder / side / row[1], picture(number))
    return folder


def test_the_papers_numbers_are_those_of_the_paper():
    assert SetCounts(10031, 3663, 1570, 100, 100) == PAPER


def test_paper_counts_are_exact(root, tmp_path, rows_of, tally):
    made = prepare_covidx(root, tmp_path / "out", split="paper", counts=COUNTS)
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == COUNTS
    assert sum(made.counts.values()) == 22 and made.counts["test", 1] == 3
    assert made.notes == []
    assert len(read_manifest(made.manifest).rows) == 22


def test_labels_patients_and_pixels_are_those_of_the_lists(root, tmp_path, rows_of):
    prepare_covidx(root, tmp_path / "out", counts=COUNTS)
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    row = rows["images/test/COVID(70).png"]
    assert (row["split"], row["label"], row["patient_id"]) == ("test", "1", "COVID 70")
    assert rows["images/test/16745_2_1.PNG"]["patient_id"] == "210"
    for path in rows:
        original = root / path.removeprefix("images/")
        assert (tmp_path / "out" / path).read_bytes() == original.read_bytes()


def test_patients_of_the_test_set_do_not_train(root, tmp_path, rows_of, shared_patients):
    for seed in range(5):
        out = tmp_path / f"out{seed}"
        prepare_covidx(root, out, seed=seed, counts=COUNTS)
        rows = rows_of(out)
        assert not shared_patients(rows)
        assert "images/train/again.jpg" not in {row["path"] for row in rows}


def test_the_same_seed_gives_the_same_manifest(root, tmp_path):
    texts = []
    for number, seed in enumerate((3, 3, 4)):
        made = prepare_covidx(root, tmp_path / str(number), seed=seed, counts=COUNTS)
        texts.append(made.manifest.read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_three_classes_and_other_list_names(tmp_path, put, picture, rows_of):
    folder = tmp_path / "older"
    classes = ["normal", "pneumonia"] * 8 + ["COVID-19"] * 2
    for side in ("train", "test"):
        rows = [(f"{side}{i}", f"{side}{i}.jpeg", label) for i, label in enumerate(classes)]
        put(folder / "labels" / f"{side}_COVIDx4.txt", lines(rows))
        for number, row in enumerate(rows):
            put(folder / "data" / side / row[1], picture(number, "jpeg"))
    prepare_covidx(folder, tmp_path / "out", counts=COUNTS)
    labels = {row["path"]: row["label"] for row in rows_of(tmp_path / "out")}
    assert labels["images/test/test0.jpeg"] == labels["images/test/test1.jpeg"] == "0"
    assert labels["images/test/test16.jpeg"] == "1"


def test_another_test_set_stops_the_papers_split(root, tmp_path, message, rows_of):
    counts = SetCounts(10, 4, 2, test_normal=2, test_abnormal=3)
    text = message(prepare_covidx, root, tmp_path / "out", split="paper", counts=counts)
    assert "test set has 2 negative and 3 positive images, found 3 and 3" in text
    assert "--scale" in text and not (tmp_path / "out").exists()
    prepare_covidx(root, tmp_path / "out", split="paper", scale=True, counts=counts)
    assert len(rows_of(tmp_path / "out")) == 22


def test_other_training_numbers_stop_the_papers_split(root, tmp_path, message, rows_of, tally):
    counts = SetCounts(20, 8, 4, test_normal=3, test_abnormal=3)
    text = message(prepare_covidx, root, tmp_path / "out", split="paper", counts=counts)
    assert "needs 28 normal and 4 abnormal images, found 16 and 3" in text
    made = prepare_covidx(root, tmp_path / "out", counts=counts)
    # 15 negative images are left without the patient of the test set: 15/28 of each.
    assert tally(rows_of(tmp_path / "out")).healthy == 10
    assert made.notes == ["22 images where the paper has 38"]


def test_images_that_are_not_there_are_counted(root, tmp_path):
    (root / "train/3.jpg").unlink()
    notes = prepare_covidx(root, tmp_path / "out", counts=COUNTS).notes
    assert "1 of 19 images of train.txt are not there and were left out" in notes


def test_mistakes_are_named_in_one_line(root, tmp_path, put, message):
    def says(folder=root, **options):
        return message(prepare_covidx, folder, tmp_path / "out", **options)

    assert says(split="random").startswith("split 'random'")
    (tmp_path / "empty").mkdir()
    assert says(tmp_path / "empty") == (
        f"{tmp_path / 'empty'}: no train.txt; expected the folders train/ and test/ with their "
        "lists train.txt and test.txt (train_*.txt)"
    )
    put(root / "train.txt", "p1 1.png maybe rsna\n")
    assert f"{root}, train.txt, line 1: not 'patient file class source'" in says()
    put(root / "train.txt", "p1 ../../../secret.png negative rsna\n")
    assert f"{root}: none of the 1 images of train.txt is in train/" in says()
    assert not (tmp_path / "out").exists()


def test_the_authors_lists_divide_training_and_test_images(root, tmp_path, rows_of):
    parts = {
        "healthy": ["3.jpg", "again.jpg"],
        "mixed": ["COVID(2).png", "5.jpg"],
        "test": ["COVID(70).png", "t1.png", "3.jpg"],  # the last is of training
    }
    for part, names in parts.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(names))
    made = prepare_covidx(root, tmp_path / "out", lists=tmp_path)
    assert {(r["split"], r["path"], r["label"]) for r in rows_of(tmp_path / "out")} == {
        ("healthy", "images/train/3.jpg", "0"),
        ("healthy", "images/train/again.jpg", "0"),
        ("mixed", "images/train/5.jpg", "0"),
        ("mixed", "images/train/COVID(2).png", "1"),
        ("test", "images/test/COVID(70).png", "1"),
        ("test", "images/test/t1.png", "0"),
    }
    assert [note.split(" are not")[0] for note in made.notes] == ["1 of 3 names in test.txt"]
