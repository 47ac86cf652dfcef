"""A tiny trained run, made once by the command itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from a2bgan.cli.app import app
from a2bgan.data.phantom import write_phantoms
from a2bgan.errors import InputError

SMALL = [
    part
    for setting in (
        "train.steps=6",
        "train.log_every=2",
        "data.size=32",
        "data.max_pixels=20000",
        "method.translator.width=4",
        "method.translator.blocks=1",
        "method.discriminator.width=4",
        "method.discriminator.warmup_steps=2",
        "train.accelerator=cpu",
    )
    for part in ("--set", setting)
]


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of `train` for a training of a second."""
    return SMALL


@pytest.fixture(scope="session")
def a2bgan() -> Callable[..., Result]:
    """Run the command in this process; what it printed to both outputs is in ``.output``."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def says() -> Callable[[Result], str]:
    """The one line of an InputError."""

    def line(result: Result) -> str:
        assert isinstance(result.exception, InputError), result.exception
        assert "\n" not in str(result.exception)
        return str(result.exception)

    return line


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    sizes = dict.fromkeys(("healthy", "mixed_normal", "mixed_abnormal"), 4)
    return write_phantoms(folder, size=64, **sizes, test_normal=6, test_abnormal=6)


@pytest.fixture(scope="session")
def run(
    phantoms: Path, a2bgan: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = a2bgan("train", "--data", phantoms, "--out", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder
