import pytest

from a2bgan.data.prepare.mvtec import prepare_mvtec
from a2bgan.data.set_counts import SetCounts


@pytest.fixture
def root(tmp_path, put, picture):
    """20 good training images; 4 good, 6 broken and 4 bent test images."""
    number = 0
    for folder, count in (
        ("train/good", 20),
        ("test/good", 4),
        ("test/broken", 6),
        ("test/bent", 4),
    ):
        for image in range(count):
            number += 1
            put(tmp_path / f"bottle/{folder}/{image:03d}.png", picture(number))
            side, defect = folder.split("/")
            if side == "test" and defect != "good":
                mask = tmp_path / f"bottle/ground_truth/{defect}/{image:03d}_mask.png"
                put(mask, picture(1000 + number))
    put(tmp_path / "bottle/readme.txt", "about")
    return tmp_path / "bottle"


def test_a_mixed_set_is_borrowed_of_every_defect(root, tmp_path, rows_of, tally):
    made = prepare_mvtec(root, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == SetCounts(15, 5, 5, test_normal=4, test_abnormal=5)
    for defect, count in (("broken", 3), ("bent", 2)):
        of_it = [row["split"] for row in rows if f"/{defect}/" in row["path"]]
        assert sorted(of_it) == ["mixed"] * count + ["test"] * count
    assert "5 of 10 defective test images" in made.notes[0]


def test_test_images_keep_their_masks_and_nothing_else_has_one(root, tmp_path, rows_of):
    prepare_mvtec(root, tmp_path / "out")
    for row in rows_of(tmp_path / "out"):
        assert bool(row["mask"]) == (row["split"] == "test" and row["label"] == "1")
        if row["mask"]:
            stem = row["path"].removeprefix("images/test/").removesuffix(".png")
            original = root / "ground_truth" / f"{stem}_mask.png"
            assert (tmp_path / "out" / row["mask"]).read_bytes() == original.read_bytes()


def test_the_share_and_the_seed_decide(root, tmp_path, rows_of, tally):
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        made = prepare_mvtec(root, tmp_path / str(number), mixed_share=0.8, seed=seed)
        texts.append(made.manifest.read_bytes())
    assert texts[0] == texts[1] != texts[2]
    assert tally(rows_of(tmp_path / "0")).mixed_abnormal == 5 + 3


def test_a_set_without_masks_will_do(root, tmp_path, rows_of):
    (root / "ground_truth").rename(tmp_path / "elsewhere")
    prepare_mvtec(root, tmp_path / "out")
    assert not any(row["mask"] for row in rows_of(tmp_path / "out"))


def test_mistakes_are_named_in_one_line(root, tmp_path, put, picture, message):
    def says(folder):
        return message(prepare_mvtec, folder, tmp_path / "out")

    assert f"{root / 'test'}: no images in train/good/; expected one category" in says(
        root / "test"
    )
    put(tmp_path / "cable/train/good/000.png", picture(0))
    assert "several categories (bottle, cable)" in says(tmp_path)
    assert f"{tmp_path / 'cable'}: no images in test/DEFECT/" in says(tmp_path / "cable")
