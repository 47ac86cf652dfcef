import numpy as np
import pytest
from PIL import Image

from a2bgan.data.prepare.medmnist import prepare_medmnist
from a2bgan.data.set_counts import SetCounts


def arrays(labels, shape=(28, 28), seed=0):
    """train, val and test of the labels, (N,) or (N, K), with random images."""
    rng = np.random.default_rng(seed)
    content = {}
    for side, its in labels.items():
        its = np.asarray(its, dtype=np.uint8)
        content[f"{side}_labels"] = its.reshape(len(its), -1)
        content[f"{side}_images"] = rng.integers(0, 256, (len(its), *shape), dtype=np.uint8)
    return content


LABELS = {"train": [0] * 10 + [1] * 20, "val": [0] * 2 + [1] * 2, "test": [0, 1, 1]}


@pytest.fixture
def save(tmp_path):
    def write(content, name="pneumoniamnist.npz"):
        (tmp_path / "data").mkdir(exist_ok=True)
        np.savez_compressed(tmp_path / "data" / name, **content)
        return tmp_path / "data" / name

    return write


def test_half_of_the_normal_images_and_as_many_abnormal_ones_are_mixed(
    save, tmp_path, rows_of, tally
):
    content = arrays(LABELS)
    prepare_medmnist(save(content).parent, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == SetCounts(6, 6, 6, test_normal=1, test_abnormal=2)
    for row in rows:
        side, index = row["path"].removeprefix("images/").removesuffix(".png").split("_")
        with Image.open(tmp_path / "out" / row["path"]) as image:
            assert np.array_equal(np.asarray(image), content[f"{side}_images"][int(index)])
        assert int(row["label"]) == content[f"{side}_labels"][int(index), 0]
        assert (side == "test") == (row["split"] == "test")


def test_the_share_and_the_seed_decide(save, tmp_path, rows_of, tally):
    path = save(arrays(LABELS))
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        made = prepare_medmnist(path, tmp_path / str(number), mixed_share=0.25, seed=seed)
        texts.append(made.manifest.read_bytes())
    assert texts[0] == texts[1] != texts[2]
    assert tally(rows_of(tmp_path / "0")).healthy == 9


@pytest.mark.parametrize(
    ("name", "normal"),
    [("breastmnist", 1), ("octmnist_64", 3), ("pathmnist_128", 6), ("dermamnist", 5)],
)
def test_the_normal_class_is_known_for_some_sets(save, tmp_path, rows_of, name, normal):
    labels = {side: [0, 1, 3, 5, 6] * 4 for side in LABELS}
    prepare_medmnist(save(arrays(labels), f"{name}.npz"), tmp_path / "out")
    for row in rows_of(tmp_path / "out"):
        index = int(row["path"].removesuffix(".png").split("_")[1])
        assert (row["label"] == "0") == (labels["train"][index] == normal)


def test_colour_images_and_a_chosen_class(save, tmp_path, rows_of):
    path = save(arrays(LABELS, (64, 64, 3)), "bloodmnist_64.npz")
    prepare_medmnist(path, tmp_path / "out", normal_class=1)
    rows = rows_of(tmp_path / "out")
    assert sum(row["split"] == "healthy" for row in rows) == 11
    with Image.open(tmp_path / "out" / rows[0]["path"]) as image:
        assert (image.mode, image.size) == ("RGB", (64, 64))


def test_with_several_labels_those_without_any_are_normal(save, tmp_path, rows_of, message):
    several = [[0, 0, 0]] * 6 + [[0, 1, 0], [1, 0, 1]] * 3
    path = save(arrays(dict.fromkeys(LABELS, several)), "chestmnist.npz")
    prepare_medmnist(path, tmp_path / "out")
    labels = [row["label"] for row in rows_of(tmp_path / "out") if row["split"] == "test"]
    assert labels == ["0"] * 6 + ["1"] * 6
    assert "leave out --normal-class" in message(
        prepare_medmnist, path, tmp_path / "other", normal_class=0
    )


def test_mistakes_are_named_in_one_line(save, tmp_path, message):
    def says(root, **options):
        return message(prepare_medmnist, root, tmp_path / "out", **options)

    assert f"{tmp_path / 'no'}: no .npz file; give as --root one .npz file" in says(tmp_path / "no")
    path = save(arrays(LABELS), "bloodmnist.npz")
    assert says(path) == (
        f"{path}: which class is normal is not known; use --normal-class with one of [0, 1]"
    )
    assert f"{path}: no class 7; use --normal-class with one of [0, 1]" in says(
        path, normal_class=7
    )
    flat = save(arrays(LABELS, (28, 28, 28)), "organmnist3d.npz")
    assert "only flat images" in says(flat, normal_class=0)
    assert "bloodmnist.npz, organmnist3d.npz; give as --root" in says(path.parent)
    few = save(arrays({**LABELS, "train": [0], "val": [1]}), "pneumoniamnist.npz")
    assert "1 normal and 1 abnormal training images are too few" in says(few)
    part = save({"train_images": np.zeros((1, 28, 28), np.uint8)}, "pneumoniamnist.npz")
    assert f"{part}: no val_images in it" in says(part)
    unsafe = {**arrays(LABELS), "train_images": np.array([{}], dtype=object)}
    assert "cannot be read" in says(save(unsafe, "pneumoniamnist.npz"))
    part.write_bytes(b"no archive")
    assert f"{part}: cannot be read" in says(part)
    assert not (tmp_path / "out").exists()
