"""Fixtures that several parts of the tests use."""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from typer.testing import CliRunner, Result

from a2bgan.cli.app import app
from a2bgan.cli.console import with_options
from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own cache and key of pseudonyms out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A2BGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("A2BGAN_PSEUDONYM_KEY", str(tmp_path_factory.mktemp("settings") / "key"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Refuse connections to any other machine, so that no test needs or asks one.

    It holds for Python's sockets in this process: commands that tests start have their own.
    """

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def guard(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
                raise AssertionError(f"a test connects to {address[0]}; tests stay on this machine")
            return connect(self, address)

        return guard

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("localhost", "")
    return address.is_loopback or address.is_unspecified


@pytest.fixture
def shared_data() -> Path:
    """The folder with real images beside the repository; skips where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is missing")
    return folder


@pytest.fixture
def make_texture() -> Callable[[int], np.ndarray]:
    """A function from a seed to a smooth random picture, (48, 40) uint8, at most 200."""

    def make(seed: int) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 200, (6, 5), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((40, 48), Image.Resampling.BILINEAR))

    return make


@pytest.fixture
def tiny_set(tmp_path: Path, make_texture: Callable[[int], np.ndarray]) -> Path:
    """A folder with manifest.csv and PNGs of 40 x 48: 12 healthy, 10 mixed, 6 + 6 test images.

    Half of the mixed and the abnormal test images have a bright square of 12 x 12; the masks of
    the abnormal test images show where.
    """
    folder = tmp_path / "tiny"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    lines = ["path,split,label,patient_id,mask"]
    kinds = (
        [("healthy", 0)] * 12 + [("mixed", 0), ("mixed", 1)] * 5 + [("test", 0), ("test", 1)] * 6
    )
    for number, (split, label) in enumerate(kinds):
        image = make_texture(number).copy()
        mask = ""
        if label:
            top, left = np.random.default_rng(number).integers(4, 24, 2)
            image[top : top + 12, left : left + 12] = 250
            if split == "test":
                mask = f"masks/{number:03d}.png"
                lesion = np.zeros_like(image)
                lesion[top : top + 12, left : left + 12] = 255
                Image.fromarray(lesion).save(folder / mask)
        Image.fromarray(image).save(folder / f"images/{number:03d}.png")
        lines.append(f"images/{number:03d}.png,{split},{label},patient{number},{mask}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    """A function that writes an X-ray (H, W), (H, W, 3) or (frames, H, W) as an uncompressed DICOM
    file with a patient's name in it. Keywords set or, with None, remove elements."""

    def write(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
        dataset.PatientName, dataset.PatientID = "Doe^Jane", "MRN-0815"
        dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101112", "1"
        dataset.AccessionNumber, dataset.ReferringPhysicianName = "ACC-17", "Roe^Richard"
        dataset.Modality, dataset.ViewPosition = "DX", "PA"
        dataset.SeriesNumber = dataset.InstanceNumber = 1
        colour = pixels.shape[-1] == 3
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        if pixels.ndim == 3 and not colour:
            dataset.NumberOfFrames = len(pixels)
        dataset.Rows, dataset.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


SMALL = [
    part
    for setting in (
        "train.steps=6",
        "train.log_every=2",
        "data.size=32",
        "data.max_pixels=20000",
        "method.translator.width=4",
        "method.translator.blocks=1",
        "method.translator.ema=0.9",
        "method.discriminator.features=null",  # of pixels: nothing is loaded
        "method.discriminator.width=4",
        "method.discriminator.warmup_steps=2",
        "holdout.at_most=null",  # of so few as there are
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
    """The one line that the command shows of an InputError."""

    def line(result: Result) -> str:
        assert isinstance(result.exception, InputError), result.exception
        assert "\n" not in str(result.exception)
        return with_options(str(result.exception))

    return line


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 4 healthy, 4 + 4 mixed and 6 + 6 test phantoms."""
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    sizes = dict.fromkeys(("healthy", "mixed_normal", "mixed_abnormal"), 4)
    return write_phantoms(folder, size=64, **sizes, test_normal=6, test_abnormal=6)


@pytest.fixture(scope="session")
def run(
    phantoms: Path, a2bgan: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny trained run, made by the command itself."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = a2bgan("train", "--data", phantoms, "--out", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder
