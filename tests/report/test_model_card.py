import json
import shutil

import pytest
import yaml

from a2bgan.errors import InputError
from a2bgan.report.model_card import write_model_card
from a2bgan.training.run_folder import RunFolder


@pytest.fixture
def copy(run, tmp_path):
    found = RunFolder.open(shutil.copytree(run, tmp_path / "lungs"))
    (found.path / "metrics.json").unlink(missing_ok=True)  # of another test
    return found


def test_a_card_says_what_the_run_is_and_what_it_was_measured_on(copy, a2bgan, tmp_path):
    assert a2bgan("evaluate", copy.path).exit_code == 0
    metrics = json.loads((copy.path / "metrics.json").read_text())
    result = a2bgan("report", copy.path, "--card")
    assert result.exit_code == 0, result.output
    text = (copy.path / "model-card.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "a2bgan"
    (value,) = front["model-index"][0]["results"][0]["metrics"]
    assert value["value"] == round(metrics["auroc"], 4)
    assert "# lungs" in text and "Not a medical device" in text
    assert f"| AUROC | {metrics['auroc']:.2f}" in text
    assert "This model is doubtful" in text  # a few steps of a tiny network
    assert str(tmp_path) not in text


def test_without_measures_the_card_says_so(copy, tmp_path):
    write_model_card(copy, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text()
    assert "Not measured" in text and "model-index" not in text


def test_a_card_reads_no_images(copy, a2bgan, says, tmp_path):
    assert "--card reads no images" in says(a2bgan("report", copy.path, "--card", "--data", "x"))
    with pytest.raises(InputError, match="cannot be written"):
        write_model_card(copy, tmp_path / "missing" / "card.md")
