"""Which DICOM files are read, and whether their pixels are those that DCMTK reads.

    python benchmarks/dicom_formats.py

Noise on a ramp is written in every photometric interpretation and bit depth, encoded by DCMTK
(JPEG 2000 by pydicom with OpenJPEG) in every transfer syntax, and read by a2bgan. DCMTK decodes the
same file to raw bytes (`dcmdump +W`), of palettes to a picture (`dcm2pnm`); of JPEG 2000, which it
does not know, what was encoded is compared. Then pydicom's own test files, those that come with the
package: how many are read, and why the others are not. Writes docs/results/dicom.md.
"""

import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from a2bgan.data.formats.picture import ImageError, ReadOptions
from a2bgan.data.formats.reading import read_picture
from result_page import script_parser, write_page

LIMIT = 100_000_000
SHAPE = (128, 96)

# photometric interpretation, bits stored, signed
KINDS = [
    ("MONOCHROME2", 8, False), ("MONOCHROME2", 12, False), ("MONOCHROME2", 16, False),
    ("MONOCHROME2", 12, True), ("MONOCHROME2", 16, True), ("MONOCHROME1", 8, False),
    ("MONOCHROME1", 12, False), ("RGB", 8, False), ("PALETTE COLOR", 8, False),
]  # fmt: skip

# name, encoder, decoder
SYNTAXES = [
    ("implicit little endian", ["dcmconv", "+ti"], ["dcmconv", "+te"]),
    ("explicit little endian", ["dcmconv", "+te"], ["dcmconv", "+te"]),
    ("explicit big endian", ["dcmconv", "+tb"], ["dcmconv", "+te"]),
    ("deflated", ["dcmconv", "+td"], ["dcmconv", "+te"]),
    ("RLE", ["dcmcrle"], ["dcmdrle"]),
    ("JPEG baseline", ["dcmcjpeg", "+eb"], ["dcmdjpeg"]),
    ("JPEG extended", ["dcmcjpeg", "+ee"], ["dcmdjpeg"]),
    ("JPEG lossless", ["dcmcjpeg", "+el"], ["dcmdjpeg"]),
    ("JPEG lossless SV1", ["dcmcjpeg", "+e1"], ["dcmdjpeg"]),
    ("JPEG-LS lossless", ["dcmcjpls", "+el"], ["dcmdjpls"]),
    ("JPEG-LS near lossless", ["dcmcjpls", "+en"], ["dcmdjpls"]),
    ("JPEG 2000 lossless", None, None),
]


def main() -> None:
    parser = script_parser(__doc__, "docs/results/dicom.md")
    args = parser.parse_args()
    lines = [
        "# DICOM files that are read",
        "",
        "Is every pixel the one that DCMTK decodes?",
        "",
        "`python benchmarks/dicom_formats.py`",
        "",
        f"pydicom {pydicom.__version__}, {_first_line('dcmdump')}. Equal: of the "
        f"{len(KINDS)} kinds of images those that the encoder makes (JPEG 2000: equal to what was "
        "encoded). Refused: of streams cut at 16 places, without and with an end marker appended.",
        "",
        "| transfer syntax | equal | unequal | refused | refused, with end marker |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        for name, encode, decode in SYNTAXES:
            found = {_kind_name(k): _compare(Path(folder), k, encode, decode) for k in KINDS}
            made = {kind: result for kind, result in found.items() if result != "-"}
            unequal = [f"{k}: {result}" for k, result in made.items() if result != "equal"]
            cut = _cut(Path(folder), encode) or ["", ""]
            cells = [f"{len(made) - len(unequal)} of {len(made)}", ", ".join(unequal), *cut]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += _test_files()
    print(*lines, sep="\n")
    write_page(args.out, lines)


def _kind_name(kind: tuple[str, int, bool]) -> str:
    photometric, bits, signed = kind
    return f"{photometric} {bits}{' signed' if signed else ''}"


def _make(path: Path, kind: tuple[str, int, bool]) -> np.ndarray:
    """Write an uncompressed file; returns its stored values."""
    photometric, bits, signed = kind
    shape = (*SHAPE, 3) if photometric == "RGB" else SHAPE
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 0.8, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    values = np.floor((ramp + 0.2 * rng.random(shape)) * ((1 << bits) - 1)).astype(np.int64)
    values -= (1 << bits - 1) if signed else 0
    dtype = np.dtype(("i" if signed else "u") + ("1" if bits <= 8 else "2"))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Test^Test", "1", "OT"
    dataset.Rows, dataset.Columns = SHAPE
    dataset.SamplesPerPixel = 3 if photometric == "RGB" else 1
    dataset.PhotometricInterpretation = photometric
    if photometric == "RGB":
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = dtype.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    if photometric == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            table = rng.integers(0, 256, 256).astype("<u2") * 257
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    dataset.PixelData = values.astype(dtype.newbyteorder("<")).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return values


def _compare(
    folder: Path, kind: tuple[str, int, bool], encode: list[str] | None, decode: list[str] | None
) -> str:
    photometric, bits, _ = kind
    plain, packed, unpacked = (folder / f"{name}.dcm" for name in ("plain", "packed", "unpacked"))
    for path in (packed, unpacked, *folder.glob("*.raw")):
        path.unlink(missing_ok=True)
    stored = _make(plain, kind)
    palette = photometric == "PALETTE COLOR"
    if palette and encode is not None and encode[1:] in (["+eb"], ["+ee"]):
        return "-"
    if encode is None or decode is None:
        dataset = pydicom.dcmread(plain)
        try:
            dataset.compress(JPEG2000Lossless)
        except (RuntimeError, ValueError):
            return "-"
        dataset.save_as(packed)
        shown = plain
    else:
        if subprocess.run([*encode, plain, packed], capture_output=True).returncode:
            return "-"
        if pydicom.dcmread(packed, stop_before_pixels=True).BitsStored != bits:
            return "-"  # reduced to what the codec holds
        subprocess.run([*decode, packed, unpacked], check=True, capture_output=True)
        shown = unpacked
        subprocess.run(["dcmdump", "+W", folder, unpacked], check=True, capture_output=True)
        stored = _raw(folder, kind, stored.shape)
    try:
        found = read_picture(packed, ReadOptions(LIMIT)).values.astype(np.int64)
    except ImageError as error:
        return str(error)
    expected = stored
    if palette:  # DCMTK shows the upper eight bits
        subprocess.run(["dcm2pnm", shown, folder / "a.ppm"], check=True, capture_output=True)
        expected, found = np.asarray(Image.open(folder / "a.ppm")).astype(np.int64), found >> 8
    elif photometric == "MONOCHROME1":
        expected = (1 << bits) - 1 - stored
    worst = int(np.abs(found - expected).max())
    return "equal" if worst == 0 else str(worst)


def _cut(folder: Path, encode: list[str] | None) -> list[str] | None:
    """How many cut streams of a syntax are refused; None where pixels are not compressed."""
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    packed.unlink(missing_ok=True)
    _make(plain, ("MONOCHROME2", 8 if encode and "+eb" in encode else 12, False))
    if encode is None:
        dataset = pydicom.dcmread(plain)
        dataset.compress(JPEG2000Lossless)
        dataset.save_as(packed)
    else:
        subprocess.run([*encode, plain, packed], capture_output=True, check=True)
    dataset = pydicom.dcmread(packed)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return None
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    counts = []
    for end in (b"", b"\xff\xd9"):
        refused = 0
        for share in np.linspace(0.05, 0.95, 16):
            dataset.PixelData = encapsulate([stream[: int(len(stream) * share)] + end])
            dataset.save_as(packed)
            try:
                read_picture(packed, ReadOptions(LIMIT))
            except ImageError:
                refused += 1
        counts.append(f"{refused} of 16")
    return counts


def _raw(folder: Path, kind: tuple[str, int, bool], shape: tuple[int, ...]) -> np.ndarray:
    _, bits, signed = kind
    (file,) = (f for f in folder.glob("*.raw") if f.name.startswith("unpacked.dcm"))
    dtype = np.dtype(("<i" if signed else "<u") + ("1" if bits <= 8 else "2"))
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(file.read_bytes()[:size], dtype=dtype).reshape(shape).astype(np.int64)


def _test_files() -> list[str]:
    """A table of how many of pydicom's test files are read, or why not."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    outcomes: Counter[str] = Counter()
    for path in (file for file in root.rglob("*") if file.is_file()):
        try:
            read_picture(path, ReadOptions(LIMIT, "auto"))
            outcomes["read"] += 1
        except ImageError as error:
            outcomes[str(error).partition(" (")[0]] += 1
    return [
        "",
        "## pydicom's test files",
        "",
        "| outcome | files |",
        "| --- | --- |",
        *(f"| {outcome} | {count} |" for outcome, count in outcomes.most_common()),
    ]


def _first_line(command: str) -> str:
    said = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    return f"DCMTK {said.split()[2]}"


if __name__ == "__main__":
    main()
