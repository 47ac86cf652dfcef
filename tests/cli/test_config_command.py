"""The command `config`."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from a2bgan.training.config import load_config


def test_yaml_can_be_given_to_train(a2bgan: Callable[..., Result], tmp_path: Path) -> None:
    said = a2bgan("config", "fast", "--set", "data.size=64", "--format", "yaml")
    file = tmp_path / "mine.yaml"
    file.write_text(said.stdout)

    assert load_config("probe", file) == load_config("fast", settings=["data.size=64"])


def test_text_and_markdown_name_value_and_meaning(a2bgan: Callable[..., Result]) -> None:
    text = a2bgan("config", "paper").output
    assert "method.loss.gradient_penalty = 10" in text
    assert "lambda_gp, eq. 4" in text
    table = a2bgan("config", "paper", "--format", "markdown").output
    assert "| `method.loss.identity` | 1.0 | number, >= 0 | lambda_id, eq. 6 |" in table


def test_the_document_lists_the_default_preset(a2bgan: Callable[..., Result]) -> None:
    document = Path(__file__).parents[2] / "docs" / "settings.md"
    table = document.read_text()[document.read_text().index("| setting") :]
    assert a2bgan("config", "fast", "--format", "markdown").output == table, (
        "make docs/settings.md anew"
    )


def test_unknown_settings_name_the_nearest(
    a2bgan: Callable[..., Result], says: Callable[[Result], str]
) -> None:
    said = says(a2bgan("config", "--set", "method.discriminator.features.backbon=x"))
    assert "did you mean backbone?" in said
