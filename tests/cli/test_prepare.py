import pytest
from PIL import Image


@pytest.fixture
def bottle(tmp_path, make_texture):
    for number in range(12):
        folder = ("train/good", "test/good", "test/broken")[number % 3]
        path = tmp_path / "bottle" / folder / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_texture(number)).save(path)
    return tmp_path / "bottle"


def test_a_prepared_set_opens_as_data(bottle, a2bgan, tmp_path):
    result = a2bgan("data", "prepare", "mvtec", "--root", bottle, "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    assert "mixed: 2 normal, 2 abnormal" in result.output
    assert "note: the layout has no mixed set" in result.output
    assert f"-> {tmp_path / 'set' / 'manifest.csv'}" in result.output
    result = a2bgan("data", "check", tmp_path / "set", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output


def test_kinds_and_options_that_do_not_exist_are_named(bottle, a2bgan, says, tmp_path):
    def line(kind, *options):
        return says(
            a2bgan("data", "prepare", kind, "--root", bottle, "--out", tmp_path / "o", *options)
        )

    assert line("cifar") == (
        "no kind 'cifar': use one of covidx, chestxray8, celeba, medianomaly, bmad, mvtec, medmnist"
    )
    assert line("mvtec", "--finding", "Hernia") == "--finding is not for mvtec; leave it out"
    assert line("mvtec", "--scale") == "--scale is not for mvtec; leave it out"
    assert line("covidx", "--mixed-share", 0.5) == "--mixed-share is not for covidx; leave it out"
    assert line("covidx").startswith(f"{bottle}: no train.txt; expected")
