import pytest

from a2bgan.data.prepare.bmad import prepare_bmad
from a2bgan.data.set_counts import SetCounts

COUNTS = {
    "train/good": 12, "valid/good": 2, "valid/Ungood": 3, "test/good": 4, "test/Ungood": 6,
}  # fmt: skip


@pytest.fixture
def write(tmp_path, put, picture):
    """A function that writes a set with masks (img/ and label/) or without; names repeat."""

    def make(name="Brain_AD", masks=True, counts=COUNTS):
        number = 0
        for folder, count in counts.items():
            for image in range(count):
                number += 1
                within = f"{folder}/img" if masks else folder
                put(tmp_path / f"{name}/{within}/{image:05d}_60.png", picture(number))
                if masks and "Ungood" in folder:
                    label = tmp_path / f"{name}/{folder}/label/{image:05d}_60.png"
                    put(label, picture(1000 + number))
        return tmp_path / name

    return make


@pytest.mark.parametrize("masks", [True, False])
def test_the_validation_set_is_mixed_and_the_test_set_stays(write, tmp_path, rows_of, tally, masks):
    root = write(masks=masks)
    made = prepare_bmad(root, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == SetCounts(12, 2, 3, 4, 6)
    for row in rows:
        name = row["path"].removeprefix("images/")
        assert (tmp_path / "out" / row["path"]).read_bytes() == (root / name).read_bytes()
        assert ("/Ungood/" in name) == (row["label"] == "1")
        with_mask = masks and row["split"] == "test" and row["label"] == "1"
        assert bool(row["mask"]) == with_mask
        if with_mask:
            of_it = root / name.replace("/img/", "/label/")
            assert (tmp_path / "out" / row["mask"]).read_bytes() == of_it.read_bytes()
    assert made.notes == ["patients are not known: one may be on both sides"]


def test_a_share_of_the_test_set_can_join_it(write, tmp_path, rows_of, tally):
    root = write()
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        made = prepare_bmad(root, tmp_path / str(number), mixed_share=0.5, seed=seed)
        texts.append(made.manifest.read_bytes())
    assert texts[0] == texts[1] != texts[2]
    assert tally(rows_of(tmp_path / "0")) == SetCounts(9, 5, 6, 4, 3)
    assert "3 of 6 abnormal test images" in made.notes[-1]


def test_folders_in_parts_are_one(write, tmp_path, rows_of, tally):
    root = write("OCT_AD", counts={**COUNTS, "train/good_a": 3, "test/Ungood_b": 2})
    prepare_bmad(root, tmp_path / "out")
    counts = tally(rows_of(tmp_path / "out"))
    assert (counts.healthy, counts.test_abnormal) == (15, 8)


def test_mistakes_are_named_in_one_line(write, tmp_path, message):
    def says(root, **options):
        return message(prepare_bmad, root, tmp_path / "out", **options)

    root = write()
    assert f"{root / 'test'}: no images in train/good/; expected one set" in says(root / "test")
    write("Liver_AD")
    assert "several sets (Brain_AD, Liver_AD)" in says(tmp_path)
    assert "mixed share 2" in says(root, mixed_share=2)
    few = write("RESC_AD", counts={"train/good": 3, "test/good": 1, "test/Ungood": 1})
    assert f"{few}: no images in valid/Ungood/" in says(few)
    assert not (tmp_path / "out").exists()
