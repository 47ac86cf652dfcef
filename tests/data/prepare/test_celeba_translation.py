import pytest

from a2bgan.data.prepare.celeba import prepare_celeba
from a2bgan.data.prepare.celeba_translation import PAPER

TRAIN, VALIDATION, TEST = range(14), range(14, 18), range(18, 24)


def has(number, attribute):
    return number % 3 == 0 if attribute == "Eyeglasses" else number % 2 == 0


@pytest.fixture
def root(tmp_path, put, picture):
    folder = tmp_path / "celeba"
    partition, attributes = "", "24\nEyeglasses Male Young \n"
    for number in range(24):
        name = f"{number + 1:06d}.jpg"
        put(folder / "img_align_celeba" / name, picture(number, "jpg", colour=True))
        partition += f"{name} {0 if number in TRAIN else 1 if number in VALIDATION else 2}\n"
        marks = [1 if has(number, a) else -1 for a in ("Eyeglasses", "Male")]
        attributes += f"{name} {marks[0]:2d} {marks[1]:2d} -1\n"
    put(folder / "list_eval_partition.txt", partition)
    put(folder / "list_attr_celeba.txt", attributes)
    return folder


@pytest.mark.parametrize(
    ("task", "attribute"), [("eyeglasses", "Eyeglasses"), ("male2female", "Male")]
)
def test_the_training_partition_is_divided_and_the_others_are_tested(
    root, tmp_path, rows_of, task, attribute
):
    made = prepare_celeba(root, tmp_path / "out", task=task)
    found = {
        (int(row["path"][7:13]) - 1, row["split"], row["label"])
        for row in rows_of(tmp_path / "out")
    }
    expected = {
        (number, "mixed" if has(number, attribute) else "healthy", str(int(has(number, attribute))))
        for number in TRAIN
    } | {(n, "test", "1") for n in (*VALIDATION, *TEST) if has(n, attribute)}
    assert found == expected
    numbers = [
        sum(split == part for _, split, _ in expected) for part in ("mixed", "healthy", "test")
    ]
    wanted = "A, B and test have {}, {} and {} images where the paper writes ".format(*numbers)
    assert made.notes[0] == wanted + "{:,}, {:,} and {:,}".format(*PAPER[task])


def test_a_can_be_mixed(root, tmp_path, rows_of, tally, message):
    made = prepare_celeba(root, tmp_path / "out", task="eyeglasses", mixed_share=0.5)
    counts = tally(rows_of(tmp_path / "out"))
    assert (counts.mixed_normal, counts.mixed_abnormal, counts.healthy) == (5, 5, 4)
    assert "A is mixed: 5 of its images are without the attribute" in made.notes
    text = message(prepare_celeba, root, tmp_path / "o", task="eyeglasses", mixed_share=0.9)
    assert "B would be empty" in text


def test_mistakes_are_named_in_one_line(root, tmp_path, put, message):
    def says(**options):
        return message(prepare_celeba, root, tmp_path / "out", **options)

    assert says(task="hats") == "task 'hats': use one of eyeglasses, male2female"
    assert says(mixed_share=0.5) == "--mixed-share of celeba needs a --task"
    assert "mixed share 1.0: use a number" in says(task="eyeglasses", mixed_share=1.0)
    text = (root / "list_attr_celeba.txt").read_text()
    put(root / "list_attr_celeba.txt", text.replace("Male", "Sex"))
    assert "no attribute Male; get the list again" in says(task="male2female")
    put(root / "list_attr_celeba.txt", text.replace("000003.jpg -1", "000003.jpg 5"))
    assert "line 5: not an image and 3 values" in says(task="eyeglasses")
