"""Volumes: orientation against nibabel's own functions, geometry there and back, bad files."""

import gzip
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from a2bgan.data.check import check_data
from a2bgan.data.config import DataConfig
from a2bgan.data.formats import volumes
from a2bgan.data.formats.dicom.series import left_out_of_series
from a2bgan.data.formats.grid import same_places
from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.formats.nifti import GEOMETRY, write_map, write_nifti
from a2bgan.data.formats.picture import ImageError, ReadOptions
from a2bgan.data.formats.reading import read_mask, read_picture
from a2bgan.data.formats.slice_names import AXES, SliceName, parse_slice, volume_of
from a2bgan.data.formats.volumes import (
    as_voxels,
    chosen_slices,
    forget_volumes,
    read_grid,
    read_slice,
    read_volume,
    slice_at,
    square_pixel_shape,
)
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.volume_rows import expand_volumes

READING = ReadOptions(1_000_000)
CODES = [
    "".join(code)
    for order in itertools.permutations(("LR", "AP", "SI"))
    for code in itertools.product(*order)
]
SPACING = np.array([1.0, 1.5, 2.5])
SHAPE = (12, 10, 9)


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    forget_volumes()


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """A volume (x, y, z) to the right, anterior, superior, different in every voxel."""
    return np.random.default_rng(0).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)


def stored(head: np.ndarray, codes: str) -> nib.Nifti1Image:
    """The same volume with its voxels in another order, by nibabel alone."""
    plain = nib.Nifti1Image(head, np.diag([*SPACING, 1.0]))
    to = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    image = plain.as_reoriented(to)
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    return image


def expected(head: np.ndarray, axis: str, k: int) -> np.ndarray:
    """The slice as radiologists see it, pixel by pixel from what the directions mean."""
    nx, ny, nz = head.shape
    if axis == "axial":  # anterior up, the patient's right on the left
        return np.array([[head[x, y, k] for x in reversed(range(nx))] for y in reversed(range(ny))])
    if axis == "coronal":  # superior up, the patient's right on the left
        return np.array([[head[x, k, z] for x in reversed(range(nx))] for z in reversed(range(nz))])
    return np.array([[head[k, y, z] for y in reversed(range(ny))] for z in reversed(range(nz))])


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_gives_the_same_slices_and_gets_its_map_back(
    tmp_path: Path, head: np.ndarray, codes: str
) -> None:
    assert len(set(CODES)) == 48
    path = tmp_path / "a.nii.gz"
    image = stored(head, codes)
    nib.save(image, path)
    volume = read_volume(path)
    assert np.array_equal(volume.values, nib.as_closest_canonical(image).get_fdata())
    assert np.array_equal(volume.values, head)
    assert np.allclose(volume.spacing, SPACING)
    for axis in AXES:
        assert np.array_equal(volumes._plane(volume, axis, 3), expected(head, axis, 3))
    # A map that marks bright voxels, slice by slice at the size of square pixels.
    marked = np.zeros(SHAPE, dtype=np.float32)
    for k in range(SHAPE[2]):
        picture = read_slice(path, "axial", k, READING).values
        marked[slice_at("axial", k)] = as_voxels(picture > 700, "axial", SHAPE)
    write_map(tmp_path / "map.nii.gz", marked, read_grid(path))
    made = nib.load(tmp_path / "map.nii.gz")
    assert np.array_equal(made.affine, image.affine)
    assert made.shape == image.shape
    assert made.get_data_dtype() == np.float32
    bright = image.get_fdata() > 700
    assert made.get_fdata()[bright].mean() > made.get_fdata()[~bright].mean() + 0.5


def test_a_map_comes_back_exactly_where_pixels_are_square(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(9, 11, 10)).astype(np.float32)
    turned = nib.affines.from_matvec(
        np.array([[0, -2.0, 0], [0, 0, 2.0], [-2.0, 0, 0]]), [5, -7, 30]
    )
    image = nib.Nifti1Image(values, turned)
    image.header["descrip"] = b"DOE^JANE"
    nib.save(image, tmp_path / "a.nii.gz")
    for axis in AXES:
        target = np.zeros(read_volume(tmp_path / "a.nii.gz").values.shape, dtype=np.float32)
        for k in range(target.shape[AXES.index(axis)]):
            picture = read_slice(tmp_path / "a.nii.gz", axis, k, READING).values
            target[slice_at(axis, k)] = as_voxels(picture, axis, target.shape)
        write_map(tmp_path / "map.nii.gz", target, read_grid(tmp_path / "a.nii.gz"))
        made = nib.load(tmp_path / "map.nii.gz")
        assert np.array_equal(made.get_fdata(dtype=np.float32), values)
        for name in GEOMETRY:
            assert np.array_equal(made.header[name], image.header[name], equal_nan=True)
    assert b"DOE" not in gzip.decompress((tmp_path / "map.nii.gz").read_bytes())


def test_pixels_become_square_and_masks_stay_on_their_pixels(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 10, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(ramp, np.diag([1.0, 3.0, 2.0, 1.0])), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert square_pixel_shape(volume, "axial") == (30, 20)
    assert square_pixel_shape(volume, "coronal") == (16, 20)
    assert square_pixel_shape(volume, "sagittal") == (8, 15)
    image = read_slice(tmp_path / "a.nii", "axial", 2, READING).values
    assert np.allclose(image, np.arange(20.0)[::-1])
    mask = np.zeros((20, 10, 8), dtype=np.uint8)
    mask[3, 4, 2] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([1.0, 3.0, 2.0, 1.0])), tmp_path / "m.nii")
    found = read_mask(tmp_path / "m.nii#axial-0002", 1_000_000)
    assert np.argwhere(found).tolist() == [[15, 16], [16, 16], [17, 16]]


def found_lesions(path: Path, depth: int) -> np.ndarray:
    """Axial slices of a mask, (columns, rows, slices), turned back to RAS+."""
    slices = [read_mask(Path(f"{path}#axial-{k:04d}"), 1_000_000) for k in range(depth)]
    return np.stack([part.T[::-1, ::-1] for part in slices], axis=-1)


def test_masks_that_number_tissues_keep_all_of_them(tmp_path: Path) -> None:
    labels = np.zeros((12, 10, 9), dtype=np.int16)
    labels[2:8, 2:8, 2:6] = 1
    labels[3:6, 3:6, 3:5], labels[4, 4, 3:6] = 2, 4
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "m.nii")
    assert np.array_equal(found_lesions(tmp_path / "m.nii", 9), labels > 0)
    # Scaled values, whose zero comes back as a little more or less.
    scaled = nib.Nifti1Image((labels - 300) * 10, np.eye(4))
    scaled.header.set_slope_inter(0.1, 300)
    nib.save(scaled, tmp_path / "s.nii")
    assert np.count_nonzero(nib.load(tmp_path / "s.nii").get_fdata()) == labels.size
    assert np.array_equal(found_lesions(tmp_path / "s.nii", 9), labels > 0)


def test_the_mask_of_a_volume_without_lesion_is_empty(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((12, 10, 9), np.uint8), np.eye(4)), tmp_path / "m.nii")
    assert not found_lesions(tmp_path / "m.nii", 9).any()
    with pytest.raises(ImageError, match=r"^constant image$"):
        read_volume(tmp_path / "m.nii")


def test_masks_of_lossy_series_have_no_noise_in_slices_without_lesion(tmp_path: Path) -> None:
    values = np.zeros((64, 64, 9), dtype=np.int16) - 1024
    values[20:40, 24:45, 3:6] = 1000
    values[::2, :, 7] += 3  # as compression may leave
    write_series(tmp_path / "m", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    for path in (tmp_path / "m").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept = 0
        dataset.compress(JPEG2000, j2k_cr=[5])
        dataset.save_as(path)
    found = found_lesions(tmp_path / "m", 9)
    assert np.mean(found != (values == 1000)) < 0.01
    assert not found[..., 7].any()


def test_two_volumes_at_most_are_read_at_once_to_choose_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: np.ndarray
) -> None:
    rows = []
    for k in range(6):
        path = tmp_path / f"{k}.nii"
        nib.save(stored(head, "RAS"), path)
        rows.append(Row(path.name, path, "healthy", 0, path.name, None, None))
    lock, counts = threading.Lock(), [0]

    def measured(*arguments: object) -> list[int]:
        with lock:
            counts.append(counts[-1] + 1)
        time.sleep(0.05)
        with lock:
            counts.append(counts[-1] - 1)
        return [3]

    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(volumes, "chosen_slices", measured)
    found = expand_volumes(Manifest(tuple(rows), tmp_path), DataConfig(size=32))
    assert [row.name for row in found.rows] == [f"{k}.nii#axial-0003" for k in range(6)]
    assert max(counts) <= volumes.KEPT == 2


def test_one_window_holds_for_the_whole_volume(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    values[..., 8:] *= 10
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    for k in (2, 12):
        path = tmp_path / f"a.nii#axial-{k:04d}"
        limits = read_picture(path, ReadOptions(10**6, percents=(1, 99))).window
        assert np.allclose(limits, np.percentile(values, (1, 99)))
        assert read_picture(path, ReadOptions(10**6, "full")).window == (values.min(), values.max())
        assert read_picture(path, ReadOptions(10**6, "fixed")).window is None
    with pytest.raises(ImageError, match=r"^no window in the file"):
        read_picture(tmp_path / "a.nii#axial-0002", ReadOptions(10**6, "voi"))


def test_slices_are_chosen_by_place_and_by_what_is_in_them() -> None:
    values = np.zeros((10, 10, 20), dtype=np.float32)
    values[:5, :, 4:12] = 100  # half of each of these slices
    volume = volumes.Volume(values, (1.0, 1.0, 1.0))
    assert chosen_slices(volume, "axial", (0, 1), 0) == list(range(20))
    assert chosen_slices(volume, "axial", (0.25, 0.75), 0) == list(range(5, 15))
    assert chosen_slices(volume, "axial", (0, 1), 0.5) == list(range(4, 12))
    assert chosen_slices(volume, "axial", (0, 1), 0.6) == []
    assert chosen_slices(volume, "sagittal", (0, 1), 0.1) == list(range(5))


def test_a_volume_is_read_once_for_slices_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: np.ndarray
) -> None:
    read: list[Path] = []
    original = volumes._read
    monkeypatch.setattr(volumes, "_read", lambda path: read.append(path) or original(path))
    paths = [tmp_path / f"{name}.nii" for name in "abc"]
    for path in paths:
        nib.save(stored(head, "LPS"), path)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        jobs = [(path, k) for path in paths for k in range(9)]
        for start in range(0, len(jobs), 4):  # or one thread could fall far behind
            few = jobs[start : start + 4]
            list(pool.map(lambda job: read_slice(job[0], "axial", job[1], READING), few))
    assert sorted(read) == paths


def test_slices_are_named_and_names_are_taken_apart() -> None:
    name = SliceName("x/head.nii.gz", "axial", 42)
    assert str(name) == "x/head.nii.gz#axial-0042"
    assert parse_slice(str(name)) == name
    assert volume_of(Path(str(name))) == "x/head.nii.gz"
    for other in ("head.nii.gz", "a#b.png", "a.nii#axial-42", "#axial-0001"):
        assert parse_slice(other) is None


def test_grids_are_compared_by_places_not_by_order(head: np.ndarray, tmp_path: Path) -> None:
    nib.save(stored(head, "LPS"), tmp_path / "a.nii")
    nib.save(stored(head, "SAR"), tmp_path / "b.nii")
    nib.save(nib.Nifti1Image(head, np.diag([1, 1, 2.5, 1])), tmp_path / "c.nii")
    a, b, c = (read_grid(tmp_path / f"{name}.nii") for name in "abc")
    assert same_places(a, b)
    assert not same_places(a, c)


def nifti(values: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    return nib.Nifti1Image(values, np.eye(4) if affine is None else affine).to_bytes()


def with_field(name: str, value: object) -> bytes:
    image = nib.Nifti1Image(noise(), np.eye(4))
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape or (10, 10, 10)).astype(np.float32)


def infinite() -> np.ndarray:
    values = noise()
    values[3, 3, 3] = np.inf
    return values


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def damaged_checksum() -> bytes:
    content = bytearray(gzip.compress(nifti(noise())))
    content[-6] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: nifti(noise(10, 10, 10, 3)), r"^4-D file \(10 x 10 x 10 x 3\); split it"),
        (lambda: nifti(noise(10, 10)), r"^not a volume \(10 x 10\); convert 2-D"),
        (lambda: nifti(noise(10, 10, 1)), r"^not a volume \(10 x 10 x 1\)"),
        (lambda: nifti(noise().astype(np.complex64)), "^complex values"),
        (lambda: nifti(np.zeros((9, 9, 9), RGB)), "^colour volume"),
        (lambda: nifti(infinite()), "^NaN or infinite values$"),
        (lambda: nifti(np.ones((9, 9, 9), np.uint8)), "^constant image$"),
        (lambda: nifti(noise())[:-5], "^truncated file$"),
        (lambda: gzip.compress(nifti(noise()))[:-500], "^truncated file$"),
        (lambda: nifti(noise())[:200], "^truncated file$"),
        (damaged_checksum, "^damaged file$"),
        (lambda: b"\x1f\x8b" + bytes(400), "^damaged file$"),
        (lambda: b"x" * 400, "^not a NIfTI file$"),
        (lambda: with_field("dim", [3, 4000, 4000, 4000, 1, 1, 1, 1]), r"^too large \(4000 x"),
        (lambda: with_field("dim", [3, -4, 10, 10, 1, 1, 1, 1]), "^damaged file$"),
        (lambda: with_field("vox_offset", 1e12), "^damaged file$"),
        (lambda: with_field("vox_offset", np.nan), "^damaged file$"),
        (lambda: with_field("datatype", 999), "^damaged file$"),
        (lambda: with_field("magic", b"ni1"), "^NIfTI in two files"),
        (lambda: with_field("srow_x", [0, 0, 0, 0]), "^no usable orientation"),
        (lambda: with_field("srow_x", [np.nan, 0, 0, 0]), "^no usable orientation"),
    ],
)
def test_volumes_that_cannot_be_used_are_named_in_a_few_words(
    tmp_path: Path, content: Callable[[], bytes], reason: str
) -> None:
    path = tmp_path / "DOE_JANE.nii.gz"
    path.write_bytes(content())
    for read in (lambda: read_volume(path), lambda: read_picture(path, READING)):
        with pytest.raises(ImageError, match=reason) as caught:
            read()
        assert len(str(caught.value)) < 80
        assert "DOE" not in str(caught.value)


def test_a_gzip_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    header = with_field("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1])[:352]
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(header + bytes(30_000_000))
    with pytest.raises(ImageError, match=r"^too large"):
        read_volume(tmp_path / "a.nii.gz")


def test_values_are_scaled_and_both_versions_and_byte_orders_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-500, 500, (9, 9, 9)).astype(np.int16)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        for order in "<>":
            image = kind(values, np.eye(4), kind.header_class(endianness=order))
            image.header.set_data_dtype(np.int16)
            image.header.set_slope_inter(2, -1000)
            image.to_filename(tmp_path / "a.nii")
            raw = nib.load(tmp_path / "a.nii")
            assert raw.header.endianness == order
            forget_volumes()
            found = read_volume(tmp_path / "a.nii").values
            assert np.allclose(found, raw.get_fdata())
            write_map(tmp_path / "m.nii.gz", found, read_grid(tmp_path / "a.nii"))
            assert isinstance(nib.load(tmp_path / "m.nii.gz"), kind)


def test_equal_images_are_written_as_equal_bytes(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), np.eye(4))
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", image)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def write_series(
    folder: Path, hounsfield: np.ndarray, affine: np.ndarray, names: list[str] | None = None
) -> None:
    """A CT series of a volume (columns, rows, slices) whose affine goes to DICOM's LPS."""
    folder.mkdir()
    across, down, step = (affine[:3, k] for k in range(3))
    series = generate_uid()
    for k in range(hounsfield.shape[2]):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CTImageStorage
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
        d.SeriesInstanceUID, d.PatientID = series, "DOE-1"
        d.Columns, d.Rows = hounsfield.shape[:2]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.PixelSpacing = [float(np.linalg.norm(down)), float(np.linalg.norm(across))]
        directions = [across / np.linalg.norm(across), down / np.linalg.norm(down)]
        d.ImageOrientationPatient = [round(float(v), 6) for v in np.concatenate(directions)]
        d.ImagePositionPatient = [round(float(v), 4) for v in affine[:3, 3] + k * step]
        d.PixelData = (hounsfield[..., k].T + 1024).astype("<u2").tobytes()
        # Names say nothing about the order.
        d.save_as(folder / f"{(k * 7) % 31:02d}.dcm", enforce_file_format=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_dicom_series_is_a_volume_in_the_patient_s_directions(
    tmp_path: Path, reverse: bool
) -> None:
    # Axial, rows to the back, columns to the left, as scanners make them; stacked either way.
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    lps = np.array(
        [[0.5, 0, 0, -3], [0, 0.75, 0, -4], [0, 0, -2 if reverse else 2, 50], [0, 0, 0, 1]]
    )
    write_series(tmp_path / "series", values, lps)
    volume = read_volume(tmp_path / "series")
    # To the right and anterior: both turned over; superior.
    right = values[::-1, ::-1, :: -1 if reverse else 1]
    assert np.array_equal(volume.values, right)
    assert np.allclose(volume.spacing, (0.5, 0.75, 2))
    grid = read_grid(tmp_path / "series")
    write_map(tmp_path / "map.nii.gz", volume.values, grid)
    made = nib.as_closest_canonical(nib.load(tmp_path / "map.nii.gz"))
    assert np.array_equal(made.get_fdata(), right)
    # The first voxel of the first file, in RAS.
    first = np.linalg.inv(nib.load(tmp_path / "map.nii.gz").affine) @ [3, 4, 50, 1]
    at = tuple(np.rint(first[:3]).astype(int))
    assert nib.load(tmp_path / "map.nii.gz").get_fdata()[at] == values[0, 0, 0]


def test_series_with_missing_slices_or_strangers_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    write_series(tmp_path / "a", values, np.eye(4))
    (tmp_path / "a" / "21.dcm").unlink()
    with pytest.raises(ImageError, match=r"^missing, doubled .* slices \(\d\d\.dcm\)$"):
        read_volume(tmp_path / "a")
    write_series(tmp_path / "b", values, np.eye(4))
    (tmp_path / "b" / "x.dcm").write_bytes((tmp_path / "a" / "00.dcm").read_bytes())
    with pytest.raises(ImageError, match=r"^files of several series in the folder \(x\.dcm\)$"):
        read_volume(tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(ImageError, match=r"^a folder without DICOM files$"):
        read_volume(tmp_path / "c")


def edit(path: Path, **elements: object) -> None:
    """Set elements of a DICOM file, or remove those that are None."""
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_localizers_and_reports_in_a_series_are_left_out(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    write_series(tmp_path / "a", values, np.eye(4))
    expected = read_volume(tmp_path / "a").values
    for name in ("localizer", "report"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "a" / "00.dcm").read_bytes())
    edit(
        tmp_path / "a" / "localizer", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], Rows=8,
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )  # fmt: skip
    edit(tmp_path / "a" / "report", Rows=None, Columns=None, PixelData=None, PixelSpacing=None)
    assert np.array_equal(read_volume(tmp_path / "a").values, expected)
    assert left_out_of_series(tmp_path / "a") == ["localizer", "report"]
    row = Row("a", tmp_path / "a", "healthy", 0, "a", None, None)
    config = DataConfig(size=32)
    checked = check_data(expand_volumes(Manifest((row,), tmp_path), config), config, tmp_path / "c")
    said = "no slices of their series, and left out: a/localizer; a/report"
    assert said in checked.warnings


@pytest.mark.parametrize("step", [0.625, 2.5])
def test_what_a_viewer_has_rounded_is_one_series(tmp_path: Path, step: float) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    write_series(tmp_path / "a", values, np.diag([0.48828125, 0.48828125, step, 1]))
    expected = read_volume(tmp_path / "a").values
    for file in (tmp_path / "a").iterdir():
        at = [round(float(v), 1) for v in pydicom.dcmread(file).ImagePositionPatient]
        edit(file, ImagePositionPatient=at)
    edit(tmp_path / "a" / "00.dcm", PixelSpacing=[0.488281, 0.488281])
    assert np.array_equal(read_volume(tmp_path / "a").values, expected)
    edit(tmp_path / "a" / "00.dcm", PixelSpacing=[0.49, 0.49])
    forget_volumes()
    with pytest.raises(ImageError, match=r"^slices of several sizes or directions \("):
        read_volume(tmp_path / "a")


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "PixelSpacing", "ImagePositionPatient"])
def test_what_a_slice_does_not_say_is_named_with_its_file(tmp_path: Path, keyword: str) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    write_series(tmp_path / "a", values, np.eye(4))
    edit(tmp_path / "a" / "07.dcm", **{keyword: None})
    with pytest.raises(ImageError, match=rf"^{keyword} is missing \(07\.dcm\)$"):
        read_volume(tmp_path / "a")


def test_padding_is_one_value_in_the_whole_series(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-900, 1000, (12, 10, 9))
    padded = values.copy()
    padded[:3, :, 1:] = -1024  # stored as 0
    padded[:, :, 4] = -1024  # nothing but padding
    write_series(tmp_path / "a", padded, np.eye(4))
    for file in (tmp_path / "a").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.save_as(file)
    found = read_volume(tmp_path / "a").values
    inside = padded != -1024
    turned = np.where(inside, padded, padded[inside].min())[::-1, ::-1]
    assert np.array_equal(found, turned)


def test_a_broken_orientation_is_named(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    good = (tmp_path / "a.nii").read_bytes()
    for rows in (
        [[0, 0, 0, 0]] * 3,
        [[np.nan] * 4] * 3,
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]],
    ):
        broken = good[:280] + np.array(rows, "<f4").tobytes() + good[328:]
        (tmp_path / "a.nii").write_bytes(broken)
        with pytest.raises(ImageError, match=r"^no usable orientation in the header"):
            read_volume(tmp_path / "a.nii")


def test_a_mask_is_written_in_whole_numbers(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), np.diag([-2.0, 2.0, 3.0, 1.0]))
    nib.save(image, tmp_path / "a.nii.gz")
    mask = read_volume(tmp_path / "a.nii.gz").values > 500
    write_map(tmp_path / "mask.nii.gz", mask, read_grid(tmp_path / "a.nii.gz"))
    made = nib.load(tmp_path / "mask.nii.gz")
    assert made.get_data_dtype() == np.uint8
    assert np.array_equal(made.affine, image.affine)
    assert np.array_equal(np.asanyarray(made.dataobj), image.get_fdata() > 500)


def write_enhanced(path: Path, hounsfield: np.ndarray, affine: np.ndarray) -> Dataset:
    """The volume of `write_series` as one Enhanced CT file, its frames in no order."""
    across, down, step = (affine[:3, k] for k in range(3))
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = EnhancedCTImageStorage
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID = generate_uid(), generate_uid()
    d.FrameOfReferenceUID, d.PatientID, d.Modality = generate_uid(), "DOE-1", "CT"
    d.Columns, d.Rows, d.NumberOfFrames = *hounsfield.shape[:2], hounsfield.shape[2]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    measures, plane, rescale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [float(np.linalg.norm(down)), float(np.linalg.norm(across))]
    measures.SliceThickness = float(np.linalg.norm(step))
    directions = [across / np.linalg.norm(across), down / np.linalg.norm(down)]
    plane.ImageOrientationPatient = [float(v) for v in np.concatenate(directions)]
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [rescale]
    d.SharedFunctionalGroupsSequence = [shared]
    order = np.random.default_rng(0).permutation(hounsfield.shape[2]).tolist()
    d.PerFrameFunctionalGroupsSequence = []
    for k in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [float(v) for v in affine[:3, 3] + k * step]
        frame.PlanePositionSequence = [place]
        d.PerFrameFunctionalGroupsSequence.append(frame)
    d.PixelData = b"".join((hounsfield[..., k].T + 1024).astype("<u2").tobytes() for k in order)
    d.save_as(path, enforce_file_format=True)
    return d


def test_an_enhanced_file_is_the_same_volume_as_its_series(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9))
    lps = np.array([[0.5, 0, 0, -3], [0, 0.75, 0, -4], [0, 0, 2, 50], [0, 0, 0, 1]])
    write_series(tmp_path / "series", values, lps)
    path = tmp_path / "enhanced.dcm"
    dataset = write_enhanced(path, values, lps)
    assert is_volume(path) and not is_volume(next((tmp_path / "series").iterdir()))
    one, other = read_volume(path), read_volume(tmp_path / "series")
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.spacing, other.spacing)
    assert same_places(read_grid(path), read_grid(tmp_path / "series"))

    row = Row("enhanced.dcm", path, "healthy", 0, "P", None, None)
    slices = expand_volumes(Manifest((row,), tmp_path), DataConfig(size=32, skip_empty=0.0)).rows
    assert [r.name for r in slices][:2] == ["enhanced.dcm#axial-0000", "enhanced.dcm#axial-0001"]
    assert len(slices) == 9

    dataset.PixelData = dataset.PixelData[:-200]
    dataset.save_as(tmp_path / "cut.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="truncated file"):
        read_volume(tmp_path / "cut.dcm")
    # A slice is missing in the middle.
    kept = [k for k in range(9) if k != 4]
    uneven = write_enhanced(tmp_path / "uneven.dcm", values[..., kept], lps)
    for k, frame in enumerate(uneven.PerFrameFunctionalGroupsSequence):
        frame.PlanePositionSequence[0].ImagePositionPatient[2] = 50 + 2 * kept[k]
    uneven.save_as(tmp_path / "uneven.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="no even stack"):
        read_volume(tmp_path / "uneven.dcm")
