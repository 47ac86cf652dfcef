import numpy as np
import pytest
from PIL import Image

from a2bgan.data.prepare.celeba import PAPER, prepare_celeba
from a2bgan.data.set_counts import SetCounts

COUNTS = SetCounts(6, 3, 2, test_normal=3, test_abnormal=4)
IN_TRAINING = 14


def load(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def faces(picture):
    """14 images of the official training partition, 2 of validation, 9 of test."""
    return {f"{number + 1:06d}.jpg": picture(number, "jpg", colour=True) for number in range(25)}


@pytest.fixture
def lists(faces):
    partition, attributes = "", f"{len(faces)}\n5_o_Clock_Shadow Arched_Eyebrows \n"
    for number, name in enumerate(faces):
        part = 0 if number < IN_TRAINING else 1 if number < IN_TRAINING + 2 else 2
        partition += f"{name} {part}\n"
        attributes += f"{name} -1  1\n"
    return {"list_eval_partition.txt": partition, "list_attr_celeba.txt": attributes}


@pytest.fixture
def root(tmp_path, put, faces, lists):
    folder = tmp_path / "celeba"
    for name, text in lists.items():
        put(folder / name, text)
    for name, content in faces.items():
        put(folder / "img_align_celeba" / name, content)
    return folder


def test_the_papers_numbers_are_those_of_the_paper():
    assert SetCounts(5000, 3500, 1500, 2500, 2500) == PAPER


@pytest.mark.parametrize("split", ["paper", "patient"])
def test_colour_faces_with_squares_of_40_at_128(root, tmp_path, rows_of, tally, split):
    made = prepare_celeba(root, tmp_path / "out", split=split, counts=COUNTS)
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == COUNTS
    assert sum(made.counts.values()) == 18 and made.counts["test", 1] == 4
    for row in rows:
        image = load(tmp_path / "out" / row["path"])
        assert image.shape == (128, 128, 3)
        if row["mask"]:
            inside = load(tmp_path / "out" / row["mask"]) > 0
            assert inside.sum() == 40 * 40
            assert (image[inside] == image[inside][0]).all()


def test_persons_become_patients(root, tmp_path, put, faces, rows_of):
    put(root / "identity_CelebA.txt", "".join(f"{name} {i}\n" for i, name in enumerate(faces)))
    prepare_celeba(root, tmp_path / "out", counts=COUNTS)
    for row in rows_of(tmp_path / "out"):
        # By the official partition, and never of its validation part.
        person = int(row["patient_id"])
        assert (person >= IN_TRAINING + 2) == (row["split"] == "test")
        assert person < IN_TRAINING or row["split"] == "test"


def test_an_archive_and_csv_lists_give_the_same_set(
    root, tmp_path, put, zipped, faces, lists, rows_of
):
    expected = prepare_celeba(root, tmp_path / "expected", seed=2, counts=COUNTS)
    members = {f"img_align_celeba/{name}": content for name, content in faces.items()}
    put(tmp_path / "other/Img/img_align_celeba.zip", zipped(members))
    partition = lists["list_eval_partition.txt"].replace(" ", ",")
    put(tmp_path / "other/list_eval_partition.csv", "image_id,partition\n" + partition)
    made = prepare_celeba(tmp_path / "other", tmp_path / "out", seed=2, counts=COUNTS)
    assert made.manifest.read_bytes() == expected.manifest.read_bytes()
    for row in rows_of(tmp_path / "out"):
        same = (tmp_path / folder / row["path"] for folder in ("out", "expected"))
        assert len({path.read_bytes() for path in same}) == 1


def test_too_few_images(root, tmp_path, message, rows_of):
    def says(**options):
        return message(prepare_celeba, root, tmp_path / "out", **options)

    counts = SetCounts(20, 14, 6, test_normal=10, test_abnormal=10)
    assert "needs 60 images, found 25; add --scale" in says(split="paper", counts=counts)
    assert "too few images (25)" in says(counts=SetCounts(5000, 3500, 1, 10, 10))
    made = prepare_celeba(root, tmp_path / "out", split="paper", scale=True, counts=counts)
    assert sum(made.counts.values()) == 8 + 5 + 2 + 4 + 4


def test_mistakes_are_named_in_one_line(root, tmp_path, put, message):
    def says(folder):
        return message(prepare_celeba, folder, tmp_path / "out", counts=COUNTS)

    put(tmp_path / "empty/list_eval_partition.txt", "")
    assert f"{tmp_path / 'empty'}: no images in img_align_celeba/; expected" in says(
        tmp_path / "empty"
    )
    put(root / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg zero\n")
    assert "list_eval_partition.txt, line 2: not an image and a number" in says(root)
    (root / "list_eval_partition.txt").unlink()
    assert "no list_eval_partition.txt; expected" in says(root)
