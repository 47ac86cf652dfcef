"""DICOM: pixels as another reader sees them, and one line for every file that is none."""

import io
import logging
import re
import shutil
import subprocess
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.dicom import decoding, header
from a2bgan.data.formats.dicom.header import read_dicomdir, read_tags
from a2bgan.data.formats.dicom.quiet import quiet_pydicom
from a2bgan.data.formats.kinds import is_image
from a2bgan.data.formats.picture import ImageError, PassingImageError, Picture, ReadOptions
from a2bgan.data.formats.reading import read_image, read_mask, read_picture
from a2bgan.data.preprocessing import load_image
from a2bgan.errors import InputError

LIMIT = 1_000_000
Write = Callable[..., Path]


@pytest.fixture
def grey12() -> np.ndarray:
    ramp = np.add.outer(np.arange(80) * 25, np.arange(64) * 25)
    return (ramp + np.random.default_rng(0).integers(0, 200, (80, 64))).astype(np.uint16)


def auto(path: Path, window: str = "auto", **options: str) -> Picture:
    return read_picture(path, ReadOptions(LIMIT, window, **options))  # type: ignore[arg-type]


def run_dcmtk(command: str, *arguments: object) -> None:
    if shutil.which(command) is None:
        pytest.skip(f"DCMTK's {command} is not installed")
    subprocess.run([command, *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless,
        JPEG2000Lossless,
    ],
)  # fmt: skip
def test_transfer_syntaxes_give_the_same_pixels(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, syntax: pydicom.uid.UID
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12, BitsStored=12, HighBit=11)
    dataset = pydicom.dcmread(path)
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "b.dcm", implicit_vr=syntax.is_implicit_VR)
    result = read_image(tmp_path / "b.dcm", LIMIT)
    assert result.dtype == np.uint16
    assert np.array_equal(result, grey12)


@pytest.mark.parametrize(
    ("command", "option"), [("dcmcjpeg", "+e1"), ("dcmcjpeg", "+el"), ("dcmconv", "+tb")]
)
def test_jpeg_lossless_and_big_endian_of_dcmtk(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, command: str, option: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12, BitsStored=12, HighBit=11)
    run_dcmtk(command, option, path, tmp_path / "b.dcm")
    assert np.array_equal(read_image(tmp_path / "b.dcm", LIMIT), grey12)


@pytest.mark.parametrize("option", ["+eb", "+ee"])
def test_lossy_jpeg_as_dcmtk_decodes_it(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, option: str
) -> None:
    bits = 8 if option == "+eb" else 12
    pixels = (grey12 >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=bits, HighBit=bits - 1)
    run_dcmtk("dcmcjpeg", option, path, tmp_path / "b.dcm")
    run_dcmtk("dcmdjpeg", tmp_path / "b.dcm", tmp_path / "c.dcm")
    ours, theirs = (read_image(tmp_path / f"{n}.dcm", LIMIT).astype(int) for n in "bc")
    assert np.abs(ours - theirs).max() <= 1  # two inverse cosine transforms round differently
    assert np.corrcoef(ours.ravel(), pixels.ravel())[0, 1] > 0.98  # DCMTK stretches the values


def test_windows_are_what_dcmtk_shows(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    for number, elements in enumerate(
        (
            {"WindowCenter": 2000, "WindowWidth": 1500},
            {"WindowCenter": ["2000", "9"], "WindowWidth": ["1500", "9"]},
            {"WindowCenter": 2000, "WindowWidth": 1500, "PhotometricInterpretation": "MONOCHROME1"},
            {
                "WindowCenter": 1000,
                "WindowWidth": 900,
                "RescaleSlope": 2,
                "RescaleIntercept": -1024,
            },
        )
    ):
        path = write_dicom(
            tmp_path / f"{number}.dcm", grey12, BitsStored=12, HighBit=11, **elements
        )
        values, window, _ = auto(path, "voi")
        assert window is not None
        low, high = window
        ours = np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255
        run_dcmtk("dcm2pnm", "+Wi", "1", "+opb", path, tmp_path / "shown.pgm")

        theirs = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float)
        assert np.abs(ours - theirs).max() <= 1


def test_auto_takes_the_files_window_and_fixed_takes_hounsfield_units(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    stored = (grey12.astype(np.int16) - 1000).astype(np.int16)
    path = write_dicom(
        tmp_path / "ct.dcm", stored, RescaleSlope="1", RescaleIntercept="-24",
        WindowCenter="40", WindowWidth="400",
    )  # fmt: skip
    values, window, _ = auto(path)
    assert window == (-160.0, 239.0)
    assert np.array_equal(values, stored.astype(np.float32) - 24)
    for name in ("percentile", "fixed"):
        assert auto(path, name).window is None
    assert auto(path, "full").window == (-32768 - 24, 32767 - 24)
    config = DataConfig(size=40, square="stretch", depth=16)
    shown = load_image(path, config)
    fixed = config.model_copy(update={"window": "fixed", "window_low": -160, "window_high": 239})
    assert np.array_equal(shown, load_image(path, fixed))
    percentile = config.model_copy(update={"window": "percentile"})
    assert not np.array_equal(shown, load_image(path, percentile))


def test_voi_needs_a_window_in_the_file(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12)
    assert auto(path).window is None
    with pytest.raises(ImageError, match="no window in the file"):
        load_image(path, DataConfig(window="voi"))


def test_voi_tables_and_sigmoid(tmp_path: Path, write_dicom: Write, grey12: np.ndarray) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.arange(4096) ** 2 // 256).astype("<u2").tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", grey12, BitsStored=12, HighBit=11, VOILUTSequence=Sequence([table])
    )
    values, window, _ = auto(path)
    assert window == (0, 65535)
    assert np.array_equal(values, grey12.astype(np.int64) ** 2 // 256)
    table.LUTData = table.LUTData[:-2]
    path = write_dicom(
        tmp_path / "b.dcm", grey12, BitsStored=12, HighBit=11, VOILUTSequence=Sequence([table])
    )
    with pytest.raises(ImageError, match=r"^LUTData contradicts LUTDescriptor \(VOILUTSequence\)$"):
        auto(path)
    path = write_dicom(
        tmp_path / "s.dcm", grey12, WindowCenter="2000", WindowWidth="800",
        VOILUTFunction="SIGMOID",
    )  # fmt: skip
    values, window, _ = auto(path)
    assert window == (0, 1)
    assert values == pytest.approx(1 / (1 + np.exp(-4 * (grey12 - 2000.0) / 800)), abs=1e-6)


def test_monochrome1_is_turned_over_and_padding_is_black(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    padded = grey12.copy()
    padded[:5] = 4095
    path = write_dicom(
        tmp_path / "a.dcm", padded, BitsStored=12, HighBit=11,
        PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4095,
    )  # fmt: skip
    values = auto(path, "percentile").values
    assert np.array_equal(values[5:], 4095 - grey12[5:])
    assert (values[:5] == values[5:].min()).all()


def test_signed_pixels_and_unused_bits(tmp_path: Path, write_dicom: Write) -> None:
    wanted = np.arange(-100, 100, dtype=np.int16).reshape(10, 20)
    # Twelve bits of two's complement with rubbish, such as an old overlay, above them.
    stored = ((wanted & 0x0FFF) | 0x5000).astype(np.int16)
    path = write_dicom(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=11)
    assert np.array_equal(read_image(path, LIMIT), wanted)


def test_colours(tmp_path: Path, write_dicom: Write) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = write_dicom(tmp_path / "rgb.dcm", rgb)
    assert np.array_equal(read_image(path, LIMIT), rgb)
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0)).reshape(20, 30, 3)
    path = write_dicom(tmp_path / "planar.dcm", planes, PlanarConfiguration=1)
    assert np.array_equal(read_image(path, LIMIT), rgb)

    index = (np.arange(600).reshape(20, 30) % 3).astype(np.uint8)
    lut = {
        f"{colour}PaletteColorLookupTableData": np.array(values, dtype="<u2").tobytes()
        for colour, values in (
            ("Red", (10, 20, 30, 0)),
            ("Green", (1, 2, 3, 0)),
            ("Blue", (7,) * 4),
        )
    }
    descriptor = {
        f"{c}PaletteColorLookupTableDescriptor": [4, 0, 16] for c in ("Red", "Green", "Blue")
    }
    path = write_dicom(
        tmp_path / "p.dcm", index, PhotometricInterpretation="PALETTE COLOR", **lut, **descriptor
    )
    values, window, _ = auto(path)
    assert window == (0, 255)  # its descriptor promises 16 bits, its entries use fewer than 8
    assert values[0, :3].tolist() == [[10, 1, 7], [20, 2, 7], [30, 3, 7]]


def test_frames_are_refused_unless_chosen(tmp_path: Path, write_dicom: Write) -> None:
    cine = np.random.default_rng(0).integers(0, 256, (40, 16, 20), dtype=np.uint8)
    path = write_dicom(tmp_path / "cine.dcm", cine, Modality="US")
    with pytest.raises(ImageError, match=r"^multi-frame file \(40 frames\); data.frames=middle"):
        auto(path)
    assert np.array_equal(auto(path, frames="first").values, cine[0])
    assert np.array_equal(auto(path, frames="middle").values, cine[20])


def test_sixteen_bits_reach_the_cache(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", grey12, BitsStored=12, HighBit=11,
        WindowCenter="2048", WindowWidth="4096",
    )  # fmt: skip
    config = DataConfig(size=32, square="stretch", depth=16)
    (image,) = load_images([path], ["a"], config, tmp_path / "cache").images
    assert len(np.unique(image)) > 700
    assert np.array_equal(image, load_image(path, config))


def test_files_are_found_by_their_content(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    for name in ("1.2.840.113", "IM0001", "scan.ima"):
        path = write_dicom(tmp_path / name, grey12)
        assert is_image(path)
        assert np.array_equal(read_image(path, LIMIT), grey12)
    write_dicom(tmp_path / "DICOMDIR", grey12)
    (tmp_path / "notes").write_text("x" * 200)
    assert not is_image(tmp_path / "DICOMDIR")
    assert not is_image(tmp_path / "notes")


def test_dicomdir_lists_its_images_and_stays_in_its_folder(tmp_path: Path) -> None:
    source = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
    found = read_dicomdir(source / "DICOMDIR")
    assert len(found) == 31
    assert all(path.is_file() for path in found)
    listing = pydicom.dcmread(source / "DICOMDIR")
    for record in listing.DirectoryRecordSequence:
        if record.DirectoryRecordType == "IMAGE":
            record.ReferencedFileID = ["..", "..", "etc", "passwd"]
    listing.save_as(tmp_path / "DICOMDIR")
    with pytest.raises(InputError, match="lists a file outside its folder"):
        read_dicomdir(tmp_path / "DICOMDIR")
    with pytest.raises(ImageError, match="a DICOMDIR, not an image"):
        auto(tmp_path / "DICOMDIR")


def deflate_bomb(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    content = path.read_bytes()
    end = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    # A private element of 12 MiB of zeros, 12 kB on disk.
    body = packer.compress(b"\x09\x00\x10\x00OB\x00\x00" + (12 << 20).to_bytes(4, "little"))
    body += b"".join(packer.compress(zeros) for _ in range(12)) + packer.flush()
    path.write_bytes(content[:end] + body)


def other_picture(path: Path) -> None:
    """A JPEG-LS picture of 400 x 400 in a file that claims 20 x 20."""
    large = pydicom.dcmread(path)
    large.Rows = large.Columns = 400
    large.PixelData = np.random.default_rng(0).integers(0, 99, 160_000, np.uint16).tobytes()
    large.compress(JPEGLSLossless)
    large.Rows = large.Columns = 20
    large.save_as(path)


def patch(path: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-900]), "^truncated file"),
        (lambda p: p.write_bytes(p.read_bytes()[:300]), "^(no image in it|truncated|damaged)"),
        (lambda p: patch(p, Rows=60_000, Columns=60_000), r"^too large \(60000 x 60000; more"),
        (lambda p: patch(p, Rows=900, Columns=900), "^truncated file"),
        (lambda p: patch(p, BitsAllocated=12), r"^unsupported bit depth \(BitsStored 16, BitsA"),
        (lambda p: patch(p, BitsStored=17), r"^unsupported bit depth \(BitsStored 17, BitsA"),
        (lambda p: patch(p, SamplesPerPixel=2), "^unsupported number of samples"),
        (lambda p: patch(p, PhotometricInterpretation="Doe^Jane"), "^unsupported photometric"),
        (lambda p: patch(p, Rows=None), "^(damaged file|no image in it)"),
        (lambda p: patch(p, PixelData=b""), "^no image in it"),
        (
            lambda p: p.write_bytes(p.read_bytes().replace(b"(\x00\x10\x00US", b"(\x00\x10\x00PN")),
            "^damaged file$",
        ),
        (
            lambda p: p.write_bytes(
                p.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.9.9.9\0")
            ),
            "^unsupported transfer syntax",
        ),
        (deflate_bomb, "^too large .inflates to more than 8 MiB"),
        (other_picture, r"^header and picture disagree \(20 x 20, 400 x 400\)$"),
    ],
)
def test_bad_files_are_named_in_a_few_words_without_the_patient(
    tmp_path: Path,
    write_dicom: Write,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
    reason: str,
) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", np.arange(1600, dtype=np.uint16).reshape(40, 40),
        StudyDate="not a date of Doe^Jane",
    )  # fmt: skip
    damage(path)
    monkeypatch.setattr(header, "LARGEST_INFLATED", 8 << 20)
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned, pytest.raises(ImageError) as caught:
            auto(path)
    finally:
        logging.getLogger().removeHandler(handler)
    message = str(caught.value)

    assert re.search(reason, message), message
    assert len(message) < 90 and "\n" not in message
    printed = capfd.readouterr()
    said = " ".join([message, *records, *(str(w.message) for w in warned), *printed])
    assert "Doe" not in said and "MRN" not in said


def test_no_bytes_raise_anything_but_image_errors(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    rng = np.random.default_rng(3)
    seeds = []
    for syntax in (None, RLELossless, JPEGLSLossless, JPEG2000Lossless):
        path = write_dicom(tmp_path / "seed.dcm", grey12, WindowCenter="1", WindowWidth="9")
        if syntax is not None:
            dataset = pydicom.dcmread(path)
            dataset.compress(syntax)
            dataset.save_as(path)
        seeds.append(path.read_bytes())
    outcomes = {"read": 0, "refused": 0}
    for k in range(200):
        data = bytearray(seeds[k % len(seeds)])
        for _ in range(rng.integers(1, 8)):
            data[int(rng.integers(128, len(data)))] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del data[int(rng.integers(0, len(data))) :]
        (tmp_path / "mutant.dcm").write_bytes(data)
        try:
            assert auto(tmp_path / "mutant.dcm").values.dtype in (np.uint8, np.uint16, np.float32)
            outcomes["read"] += 1
        except ImageError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_the_files_of_pydicom_are_read_or_refused_in_a_few_words() -> None:
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    read: list[Picture] = []
    reasons: list[str] = []
    for path in (file for file in root.rglob("*.dcm") if file.is_file()):
        try:
            read.append(auto(path))
        except ImageError as error:
            reasons.append(str(error))
    assert len(read) >= 45
    for values, _, _ in read:
        assert values.shape[2:] in ((), (3,)) and values.min() < values.max()
    assert max(map(len, reasons)) < 90


def test_tags_are_text_and_damaged_files_have_none(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12, ImageType=["ORIGINAL", "PRIMARY"])
    tags = read_tags(path, ["Modality", "ImageType", "BodyPartExamined"])
    assert tags == {"Modality": ("DX",), "ImageType": ("ORIGINAL", "PRIMARY")}
    (tmp_path / "x.png").write_bytes(b"x" * 200)
    assert read_tags(tmp_path / "x.png", ["Modality"]) is None
    assert read_tags(tmp_path / "gone.dcm", ["Modality"]) is None


def test_files_without_a_preamble_are_found_in_folders(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    whole = write_dicom(tmp_path / "a.dcm", grey12).read_bytes()
    (tmp_path / "IM0001").write_bytes(whole[132:])
    assert is_image(tmp_path / "IM0001")
    assert np.array_equal(read_image(tmp_path / "IM0001", LIMIT), grey12)
    (tmp_path / "letter").write_bytes(b"\x08 and more text" * 20)
    assert not is_image(tmp_path / "letter")


def test_files_of_before_the_preamble(tmp_path: Path) -> None:
    path = get_testdata_file("ExplVR_LitEndNoMeta.dcm", download=False)
    assert read_tags(Path(str(path)), ["Modality"]) == {"Modality": ("RTPLAN",)}


class Missing:
    """A decoder without any of its plugins."""

    available_plugins = ()


def compressed(path: Path, syntax: UID) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax)
    dataset.save_as(path)
    return path


def test_a_missing_decoder_is_named(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compressed(write_dicom(tmp_path / "a.dcm", grey12), JPEGLSLossless)
    monkeypatch.setattr(decoding, "get_decoder", lambda syntax: Missing())
    with pytest.raises(PassingImageError, match=r"needs a decoder; pip install pyjpegls$"):
        auto(path)


def test_advice_to_install_a_decoder_helps(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch, grey12: np.ndarray
) -> None:
    path = compressed(write_dicom(tmp_path / "a.dcm", grey12), JPEGLSLossless)

    def failures() -> list[str]:
        loaded = load_images([path], ["a"], DataConfig(size=32), tmp_path / "cache")
        return [failure.reason for failure in loaded.failures]

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "get_decoder", lambda syntax: Missing())
        assert "needs a decoder" in failures()[0]
        assert "needs a decoder" in failures()[0]
    assert failures() == []


def restreamed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the compressed stream of a file's only frame."""
    dataset = pydicom.dcmread(path)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1).rstrip(b"\0")
    dataset.PixelData = encapsulate([change(stream)])
    dataset.save_as(path)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize(
    "encode",
    [
        ("dcmcjpeg", "+eb"), ("dcmcjpeg", "+ee"), ("dcmcjpeg", "+el"), ("dcmcjpeg", "+e1"),
        ("dcmcjpls", "+el"), ("dcmcjpls", "+en"), (JPEG2000Lossless,), (RLELossless,),
    ],
)  # fmt: skip
def test_a_cut_stream_is_refused_whatever_stands_at_its_end(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, encode: tuple[str, ...], end: bytes
) -> None:
    pixels = (grey12 >> 4).astype(np.uint8) if encode[-1] == "+eb" else grey12
    depth = {} if encode[-1] == "+eb" else {"BitsStored": 12, "HighBit": 11}
    plain, packed = tmp_path / "plain.dcm", tmp_path / "packed.dcm"
    write_dicom(plain, pixels, **depth)
    for share in (0.5, 0.9):
        if isinstance(encode[0], UID):
            shutil.copy(plain, packed)
            compressed(packed, encode[0])
        else:
            run_dcmtk(encode[0], encode[1], plain, packed)
        whole = read_image(packed, LIMIT)
        restreamed(packed, lambda stream, cut=share: stream[: int(len(stream) * cut)] + end)
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_image(packed, LIMIT)
    assert whole.shape == pixels.shape


@pytest.mark.parametrize("encode", [("dcmcjpeg", "+eb"), ("dcmcjpeg", "+e1"), ("dcmcjpls", "+el")])
def test_a_stream_that_lacks_its_end_marker_alone_is_read(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, encode: tuple[str, str]
) -> None:
    packed = tmp_path / "packed.dcm"
    write_dicom(tmp_path / "plain.dcm", (grey12 >> 4).astype(np.uint8))
    run_dcmtk(encode[0], encode[1], tmp_path / "plain.dcm", packed)
    expected = read_image(packed, LIMIT)
    restreamed(packed, lambda stream: stream.removesuffix(b"\xff\xd9"))
    assert np.array_equal(read_image(packed, LIMIT), expected)


def test_a_file_that_lacks_the_delimiter_of_its_pixels_is_read_and_less_is_refused(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = compressed(write_dicom(tmp_path / "a.dcm", grey12), JPEGLSLossless)
    content = path.read_bytes()
    assert content.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    path.write_bytes(content[:-8])
    assert np.array_equal(read_image(path, LIMIT), grey12)
    path.write_bytes(content[: -len(content) // 10])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path, LIMIT)


@pytest.mark.parametrize("syntax", [None, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_what_stands_above_the_stored_bits_is_no_part_of_a_value(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, syntax: UID | None
) -> None:
    overlaid = grey12 | (np.arange(64, dtype=np.uint16) % 2 << 12)
    path = write_dicom(tmp_path / "a.dcm", overlaid)
    if syntax is not None:
        compressed(path, syntax)
    patch(path, BitsStored=12, HighBit=11)
    assert np.array_equal(read_image(path, LIMIT), grey12)


def test_high_bit_says_where_a_value_is_in_its_word(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12 << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(read_image(path, LIMIT), grey12)
    signed = (grey12.astype(np.int16) - 1000) << 4
    path = write_dicom(tmp_path / "b.dcm", signed, BitsStored=12, HighBit=15)
    assert np.array_equal(read_image(path, LIMIT), (grey12.astype(int) - 1000 + 2048) % 4096 - 2048)
    for high in (10, 16):
        patch(path, HighBit=high)
        with pytest.raises(
            ImageError, match=rf"^HighBit \({high}\) contradicts BitsStored \(12\)$"
        ):
            read_image(path, LIMIT)


@pytest.mark.parametrize(
    "keyword", ["PixelRepresentation", "BitsStored", "BitsAllocated", "SamplesPerPixel"]
)
def test_a_missing_element_is_named(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, keyword: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12)
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    with pytest.raises(ImageError, match=f"^{keyword} is missing$"):
        read_image(path, LIMIT)


def test_colour_without_its_arrangement_is_named(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", np.zeros((20, 30, 3), np.uint8), PlanarConfiguration=None
    )
    with pytest.raises(ImageError, match=r"^PlanarConfiguration is missing$"):
        read_image(path, LIMIT)


@pytest.mark.parametrize("value", ["2048,5", "NaN", "Doe^Jane"])
@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "RescaleSlope"])
def test_a_number_that_is_none_is_named_where_it_is_needed(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, keyword: str, value: str
) -> None:
    numbers = {"WindowCenter": "2048.5", "WindowWidth": "4096.5", "RescaleSlope": "1.0000"}
    path = write_dicom(tmp_path / "a.dcm", grey12, **numbers)
    right = numbers[keyword].ljust(len(numbers[keyword]) + len(numbers[keyword]) % 2)
    broken = path.read_bytes().replace(
        b"DS" + len(right).to_bytes(2, "little") + right.encode(),
        b"DS" + (8).to_bytes(2, "little") + value.ljust(8).encode(),
    )
    path.write_bytes(broken)
    shown = f" ({value})" if "^" not in value else ""
    with pytest.raises(ImageError, match=f"^{re.escape(keyword + ' is not a number' + shown)}$"):
        auto(path)
    if keyword != "RescaleSlope":  # percentiles need no window
        assert np.array_equal(auto(path, "percentile").values, grey12)


@pytest.mark.parametrize(
    ("pixels", "element", "value"),
    [
        (np.int16, "SS", -2000), (np.int16, "US", 63536), (np.uint16, "US", 63536),
        (np.uint16, "SS", -2000), (np.float32, "FL", -9999.0), (np.float64, "FD", -9999.0),
    ],
)  # fmt: skip
def test_padding_is_found_however_it_is_written(
    tmp_path: Path, write_dicom: Write, pixels: type, element: str, value: float
) -> None:
    inside = np.random.default_rng(0).integers(100, 3000, (20, 30))
    stored = inside.astype(pixels)
    stored[:, :5] = (
        value
        if element.startswith("F")
        else int(value) % 65536 - (65536 if pixels is np.int16 else 0)
    )
    path = write_dicom(tmp_path / "a.dcm", stored)
    dataset = pydicom.dcmread(path)
    if element.startswith("F"):
        kind = "Float" if element == "FL" else "DoubleFloat"
        del dataset.PixelData
        setattr(dataset, f"{kind}PixelData", stored.tobytes())
        setattr(dataset, f"{kind}PixelPaddingValue", value)
    else:
        dataset.add_new("PixelPaddingValue", element, value)
    dataset.save_as(path)
    found = read_image(path, LIMIT)
    assert np.array_equal(found[:, 5:], inside[:, 5:])
    assert (found[:, :5] == inside[:, 5:].min()).all()


@pytest.mark.parametrize("bits", [12, 16])
def test_tables_are_shown_by_the_range_of_their_entries(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray, bits: int
) -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, bits]
    item.LUTData = (4095 - np.arange(4096, dtype="<u2")).tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", grey12, BitsStored=12, HighBit=11, VOILUTSequence=Sequence([item])
    )
    values, window, _ = auto(path)
    assert np.array_equal(values, 4095 - grey12) and window == (0, 4095)
    modality = Dataset()
    modality.LUTDescriptor, modality.LUTData = item.LUTDescriptor, item.LUTData
    modality.ModalityLUTType = "US"
    path = write_dicom(
        tmp_path / "b.dcm", grey12, BitsStored=12, HighBit=11,
        ModalityLUTSequence=Sequence([modality]),
    )  # fmt: skip
    assert auto(path, "full").window == (0, 4095)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_colours_are_what_the_stream_says(
    tmp_path: Path, write_dicom: Write, subsampling: int
) -> None:
    rgb = np.asarray(
        Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        ).resize((64, 64), Image.Resampling.BICUBIC)
    )
    packed = io.BytesIO()
    Image.fromarray(rgb).save(packed, "JPEG", quality=95, subsampling=subsampling)
    marked = packed.getvalue()
    length = int.from_bytes(marked[4:6], "big")
    assert marked[2:4] == b"\xff\xe0"
    found = []
    for stream in (marked, marked[:2] + marked[4 + length :]):
        path = write_dicom(tmp_path / "a.dcm", rgb)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        found.append(read_image(path, LIMIT))
    assert np.array_equal(*found)
    assert np.abs(found[0].astype(int) - rgb).mean() < 5


def test_reading_leaves_the_settings_of_the_process_alone(
    tmp_path: Path, write_dicom: Write, grey12: np.ndarray
) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey12)
    logger = logging.getLogger("pydicom")

    def settings() -> tuple[object, ...]:
        mode = pydicom.config.settings.reading_validation_mode
        return mode, list(logger.handlers), logger.propagate, list(warnings.filters)

    before = settings()
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: read_image(path, LIMIT), range(20)))) == 20
    assert settings() == before
    with quiet_pydicom():
        assert settings() != before


def test_masks_that_number_tissues_are_lesions_where_they_are_not_zero(
    tmp_path: Path, write_dicom: Write
) -> None:
    labels = np.zeros((80, 64), dtype=np.uint16)
    for label in (1, 2, 4):
        labels[10 * label : 10 * label + 5, 20:40] = label
    path = write_dicom(tmp_path / "a.dcm", labels)
    assert np.array_equal(read_mask(path, LIMIT), labels > 0)
    dataset = pydicom.dcmread(write_dicom(tmp_path / "b.dcm", (labels > 0) * np.uint16(4000)))
    dataset.compress(JPEG2000, j2k_cr=[20])
    dataset.save_as(tmp_path / "b.dcm")
    assert np.mean(read_image(tmp_path / "b.dcm", LIMIT) > 0) > 0.2
    assert np.mean(read_mask(tmp_path / "b.dcm", LIMIT) != (labels > 0)) < 0.02
