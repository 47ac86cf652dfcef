"""What works with the core dependencies alone, and what is said where an extra is missing."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def modules_of_extras() -> list[str]:
    """Names under which the packages of all extras are imported."""
    extras = PROJECT["optional-dependencies"].items()
    listed = [part for name, parts in extras if name not in ("dev", "docs") for part in parts]
    names = {re.split(r"[<>=\[; ]", part)[0].lower().replace("_", "-") for part in listed}
    return sorted(
        module
        for module, packages in packages_distributions().items()
        if any(package.lower().replace("_", "-") in names for package in packages)
        and "a2bgan" not in packages
    )


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A function that runs the command as if no extra were installed."""
    folder = tmp_path_factory.mktemp("core")
    hidden = modules_of_extras()
    assert {"highdicom", "torchmetrics", "fastapi", "onnx"} <= set(hidden)
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Hiding(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        hidden = name.partition('.')[0] in {hidden!r}\n"
        "        return None if hidden else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Hiding if f is PathFinder else f for f in sys.meta_path]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}

    def a2bgan(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "a2bgan", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return a2bgan


@pytest.fixture(scope="module")
def run(core, phantoms, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    done = core("train", "--data", phantoms, "--out", out, *small)
    assert done.returncode == 0, done.stderr
    return out


def test_the_way_from_images_to_a_report_needs_no_extra(core, run, phantoms, tmp_path):
    for command in (
        ("data", "check", phantoms, "--sheet", tmp_path / "sheet.png"),
        ("evaluate", run),
        ("predict", run, phantoms, "--out", tmp_path / "out"),
        ("report", run, "--out", tmp_path / "r.html"),
        ("figure", run, "--out", tmp_path / "f.png"),
    ):
        done = core(*command)
        assert done.returncode == 0, (command, done.stderr[-2000:])


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        (("serve", "RUN"), "uvicorn", "serve"),
        (("listen", "RUN"), "pynetdicom", "listen"),
        (("export", "RUN"), "onnx", "export"),
        (("predict", "RUN", "RUN/samples", "--out", "O", "--dicom-out", "D"), "highdicom", "dicom"),
        (("report", "RUN", "--out", "r.pdf"), "weasyprint", "pdf"),
        (("select", "RUN", "--by", "fid"), "torchmetrics", "fid"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_missing_extra_is_one_line(core, run, tmp_path, command, package, extra):
    done = core(*(part.replace("RUN", str(run)) for part in command))
    assert done.returncode == 1
    assert f"{package} is not installed; in the clone: pip install '.[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
