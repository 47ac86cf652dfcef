"""Readers: every kind of file that works, and a few words for every one that does not."""

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from a2bgan.data.formats.kinds import KIND_OF_SUFFIX
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.reading import READERS, read_image, read_mask

LIMIT = 1_000_000


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff"])
def test_lossless_files_give_their_pixels(
    tmp_path: Path, grey: np.ndarray, colour: np.ndarray, suffix: str
) -> None:
    deep = grey.astype(np.uint16) * 256 + 7
    for image in (grey, colour, deep):
        Image.fromarray(image).save(tmp_path / f"a{suffix}")
        result = read_image(tmp_path / f"a{suffix}", LIMIT)
        assert result.dtype == image.dtype
        assert np.array_equal(result, image)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "raw"])
def test_compressed_tiffs(tmp_path: Path, grey: np.ndarray, compression: str) -> None:
    deep = grey.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif", LIMIT), deep)


def tiff(
    order: str, sample_format: int, pixels: bytes, bits: int = 16, photometric: int = 1
) -> bytes:
    """A grey image of 30 x 20."""
    tags = [
        (256, 3, 30), (257, 3, 20), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, 20), (279, 4, len(pixels)), (339, 3, sample_format),
    ]  # fmt: skip
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", 42, 8 + len(pixels))
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", v, 0) if kind == 3 else struct.pack(order + "I", v))
        for tag, kind, v in tags
    )
    return head + pixels + struct.pack(order + "H", len(tags)) + entries + bytes(4)


def test_tiffs_whose_zero_is_white_are_turned_over(tmp_path: Path, grey: np.ndarray) -> None:
    (tmp_path / "8.tif").write_bytes(tiff("<", 1, grey.tobytes(), 8, photometric=0))
    assert np.array_equal(read_image(tmp_path / "8.tif", LIMIT), 255 - grey)
    deep = grey.astype(np.uint16) * 257
    (tmp_path / "16.tif").write_bytes(tiff("<", 1, deep.tobytes(), photometric=0))
    result = read_image(tmp_path / "16.tif", LIMIT)
    assert result.dtype == np.uint16
    assert np.array_equal(result, 65535 - deep)


def test_big_endian_and_signed_tiffs(tmp_path: Path, grey: np.ndarray) -> None:
    unsigned = grey.astype(np.uint16) * 200
    (tmp_path / "u.tif").write_bytes(tiff(">", 1, unsigned.astype(">u2").tobytes()))
    assert np.array_equal(read_image(tmp_path / "u.tif", LIMIT), unsigned)
    signed = grey.astype(np.int16) * 20 - 1000
    (tmp_path / "s.tif").write_bytes(tiff("<", 2, signed.tobytes()))
    result = read_image(tmp_path / "s.tif", LIMIT)
    assert result.dtype == np.float32
    assert np.array_equal(result, signed)


def test_unsigned_and_signed_tiffs_of_32_bits(tmp_path: Path, grey: np.ndarray) -> None:
    large = (grey.astype(np.uint32) << 24) + 1000
    assert large.max() > 2**31
    (tmp_path / "u.tif").write_bytes(tiff("<", 1, large.astype("<u4").tobytes(), 32))
    assert np.array_equal(read_image(tmp_path / "u.tif", LIMIT), large.astype(np.float32))
    assert np.array_equal(read_mask(tmp_path / "u.tif", LIMIT), large > 4.3e4)
    for order in "<>":
        signed = grey.astype(np.int32) * 1000 - 100_000
        (tmp_path / "s.tif").write_bytes(tiff(order, 2, signed.astype(f"{order}i4").tobytes(), 32))
        assert np.array_equal(read_image(tmp_path / "s.tif", LIMIT), signed)
    (tmp_path / "small.tif").write_bytes(tiff("<", 1, grey.astype("<u4").tobytes(), 32))
    assert read_image(tmp_path / "small.tif", LIMIT).dtype == np.uint16


def test_float_tiffs_whose_zero_is_white_are_turned_over_within_their_range(
    tmp_path: Path, grey: np.ndarray
) -> None:
    values = grey.astype(np.float32) / 100 - 0.5
    (tmp_path / "f.tif").write_bytes(tiff("<", 3, values.tobytes(), 32, photometric=0))
    expected = values.min() + values.max() - values
    np.testing.assert_allclose(read_image(tmp_path / "f.tif", LIMIT), expected, atol=1e-6)
    (tmp_path / "f.tif").write_bytes(tiff("<", 3, values.tobytes(), 32))
    assert np.array_equal(read_image(tmp_path / "f.tif", LIMIT), values)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("u1", 0, 255), ("i1", -128, 127), ("u2", 0, 4095), ("i2", -1000, 3000),
        ("i4", -100_000, 100_000), ("u4", 0, 2**31), ("f2", 0, 1), ("f4", -1, 1), ("f8", 0, 9),
    ],
)  # fmt: skip
def test_tiffs_of_every_depth_hold_their_values(
    tmp_path: Path, kind: str, low: int, high: int, order: str, compression: str | None
) -> None:
    rng = np.random.default_rng(0)
    for shape in ((20, 30), (20, 30, 3)):
        values = (low + rng.random(shape) * (high - low)).astype(kind)
        photometric = "minisblack" if len(shape) == 2 else "rgb"
        tifffile.imwrite(
            tmp_path / "a.tif", values, byteorder=order, compression=compression,
            photometric=photometric,
        )  # fmt: skip
        found = read_image(tmp_path / "a.tif", LIMIT)
        assert np.array_equal(found, values.astype(found.dtype))
        assert found.dtype == {"u1": np.uint8, "u2": np.uint16}.get(kind, np.float32)


def test_colour_and_transparency_of_16_bits_keep_their_depth(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 30, 4)).astype(np.uint16)
    half = np.full((20, 30, 1), 2**15, np.uint16)
    write = {
        "png": lambda a: (tmp_path / "a.png").write_bytes(
            imagecodecs.png_encode(np.ascontiguousarray(a))
        ),
        "tif": lambda a: tifffile.imwrite(
            tmp_path / "a.tif", a, photometric="rgb" if a.shape[2] > 2 else "minisblack",
            planarconfig="contig", extrasamples=["unassalpha"] * (a.shape[2] in (2, 4)),
        ),
    }  # fmt: skip
    for suffix, save in write.items():
        save(values[..., :3])
        assert np.array_equal(read_image(tmp_path / f"a.{suffix}", LIMIT), values[..., :3])
        for channels in (1, 3):
            save(np.concatenate([values[..., :channels], half], 2))
            found = read_image(tmp_path / f"a.{suffix}", LIMIT)
            expected = np.squeeze(values[..., :channels] // 2)
            assert found.dtype == np.uint16 and found.shape == expected.shape
            assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_tiff_is_turned_upright(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-9, 9, (20, 30)).astype(np.int16)
    for orientation in range(1, 9):
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / "a.tif", values, extratags=[tag])
        flat = Image.fromarray((values + 9).astype(np.uint8))
        flat.getexif()[274] = orientation
        upright = np.asarray(ImageOps.exif_transpose(flat)).astype(int) - 9
        assert np.array_equal(read_image(tmp_path / "a.tif", LIMIT), upright)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_16_bits_a_channel_is_turned_upright(tmp_path: Path, channels: int) -> None:
    """Beside the same picture of 8 bits, which Pillow turns."""
    shallow = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    if channels != 3:
        shallow[..., -1] = 255
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(shallow.astype(np.uint16) * 257))
    whole = (tmp_path / "deep.png").read_bytes()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(shallow).save(tmp_path / "shallow.png", exif=exif)
        chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        sized = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for place in (33, len(whole) - 12):  # before and after the pixels
            (tmp_path / "deep.png").write_bytes(whole[:place] + sized + whole[place:])
            deep = read_image(tmp_path / "deep.png", LIMIT)
            assert np.array_equal(
                deep, read_image(tmp_path / "shallow.png", LIMIT) * np.uint16(257)
            )


def test_half_a_jpeg_is_refused_with_or_without_an_end_marker(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    for options in ({}, {"progressive": True}):
        picture.save(tmp_path / "a.jpg", quality=90, **options)
        stream = (tmp_path / "a.jpg").read_bytes()
        expected = read_image(tmp_path / "a.jpg", LIMIT)
        for cut in (len(stream) // 2, len(stream) - 40):
            for end in (b"", b"\xff\xd9"):
                (tmp_path / "a.jpg").write_bytes(stream[:cut] + end)
                with pytest.raises(ImageError, match=r"^truncated file$"):
                    read_image(tmp_path / "a.jpg", LIMIT)
        for whole in (stream[:-2], stream + b"appended by a program"):
            (tmp_path / "a.jpg").write_bytes(whole)
            assert np.array_equal(read_image(tmp_path / "a.jpg", LIMIT), expected)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "jp2", "jfif"])
def test_other_pictures_are_read(tmp_path: Path, grey: np.ndarray, suffix: str) -> None:
    options = {"webp": {"lossless": True}, "jfif": {"format": "JPEG", "quality": 100}}
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}", **options.get(suffix, {}))
    found = read_image(tmp_path / f"a.{suffix}", LIMIT)
    found = found[..., 0] if found.ndim == 3 else found
    assert np.abs(found.astype(int) - grey).max() <= (4 if suffix == "jfif" else 0)


def test_jpeg_in_grey_colour_and_cmyk(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    picture = Image.fromarray(ramp)
    for mode, shape in (("L", (64, 64)), ("RGB", (64, 64, 3)), ("CMYK", (64, 64, 3))):
        picture.convert("RGB").convert(mode).save(tmp_path / "a.jpg", quality=95)
        result = read_image(tmp_path / "a.jpg", LIMIT)
        assert result.shape == shape
        assert np.abs(result.reshape(64, 64, -1)[..., 0].astype(int) - ramp).max() < 10


def test_one_bit_images_become_black_and_white(tmp_path: Path, grey: np.ndarray) -> None:
    for suffix in (".png", ".tif"):
        Image.fromarray(grey > 100).save(tmp_path / f"a{suffix}")
        assert np.array_equal(read_image(tmp_path / f"a{suffix}", LIMIT), (grey > 100) * 255)


def test_palettes_become_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10) % 3, mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png")
    result = read_image(tmp_path / "a.png", LIMIT)
    assert result.shape == (10, 10, 3)
    assert [result[0, k].tolist() for k in range(3)] == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_composited_on_black(tmp_path: Path, grey: np.ndarray, mode: str) -> None:
    if mode == "P":
        image = Image.fromarray((grey > 100).astype(np.uint8), mode="P")
        image.putpalette([200, 200, 200, 90, 90, 90])
        image.save(tmp_path / "a.png", transparency=0)
        expected = np.where(grey > 100, 90, 0)
    else:
        alpha = np.random.default_rng(2).integers(0, 256, grey.shape, dtype=np.uint8)
        image = Image.fromarray(grey).convert(mode)
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "a.png")
        expected = grey * (alpha / 255)
    result = read_image(tmp_path / "a.png", LIMIT)
    assert result.ndim == (2 if mode == "LA" else 3)
    assert np.abs(result.reshape(20, 30, -1)[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_exif_orientation_is_honoured(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((32, 48), dtype=np.uint8)
    image[:8, :8] = 255  # the top left corner
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(image).save(tmp_path / f"a{suffix}", exif=exif)
    result = read_image(tmp_path / f"a{suffix}", LIMIT)
    assert result.shape == (48, 32)
    assert result[:6, -6:].min() > 200
    assert result[:6, :6].max() < 50


def test_a_misnamed_image_is_read_for_what_it_is(tmp_path: Path, grey: np.ndarray) -> None:
    Image.fromarray(grey).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg", LIMIT), grey)


def write_png(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path, format="PNG")


def write_float_tiff(path: Path, odd_value: float) -> None:
    image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    image[3, 3] = odd_value
    Image.fromarray(image).save(path)


def write_truncated(path: Path, format_name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path, format=format_name)
    path.write_bytes(path.read_bytes()[:2000])


def write_frames(path: Path) -> None:
    frames = [Image.new("L", (16, 16), value) for value in (10, 20, 30)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def write_huge_header(path: Path) -> None:
    write_png(path, np.zeros((16, 16), dtype=np.uint8))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("a.png", lambda p: None, "^missing file$"),
        ("a.png", lambda p: p.mkdir(), "^a folder, not a file$"),
        ("a.png", lambda p: p.touch(), "^empty file$"),
        ("a.png", os.mkfifo, "^not a regular file$"),
        ("a.png", lambda p: p.write_text("path,split\n" * 50), "^not a PNG, JPEG, TIFF, BMP"),
        ("a.png", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n"), "^not a PNG, JPEG, TIFF, BMP"),
        ("a.png", lambda p: write_truncated(p, "PNG"), "^truncated file$"),
        ("a.jpg", lambda p: write_truncated(p, "JPEG"), "^truncated file$"),
        ("a.tif", lambda p: write_truncated(p, "TIFF"), "^(not a PNG|truncated|damaged)"),
        ("a.png", lambda p: write_png(p, np.full((9, 9), 77, np.uint8)), "^constant image$"),
        ("a.png", lambda p: write_png(p, np.full((9, 9, 3), (1, 2, 3), np.uint8)), "^constant"),
        ("a.tif", lambda p: write_float_tiff(p, np.nan), "^NaN or infinite values$"),
        ("a.tif", lambda p: write_float_tiff(p, np.inf), "^NaN or infinite values$"),
        ("a.tif", write_frames, r"^multi-frame file; split it$"),
        ("a.png", lambda p: write_png(p, np.eye(1001, dtype=bool)), r"^too large \(1001 x 1001"),
        ("a.png", write_huge_header, "^too large"),
        ("a.png", lambda p: write_png(p, np.eye(7, 90, dtype=bool)), r"^too small \(90 x 7 "),
        ("a.dcm", lambda p: p.write_bytes(b"DICM"), "^not a DICOM file, or a damaged one$"),
        ("a.nii.gz", lambda p: p.write_bytes(b"x"), "^truncated file"),
        ("a.mha", lambda p: p.write_bytes(b"x"), r"^unknown format \(.mha\); use PNG"),
        ("a.1.2", lambda p: p.write_bytes(b"x"), r"^unknown format \(no known suffix\)"),
        ("a", lambda p: p.write_bytes(b"x"), "^unknown format"),
        ("a\0.png", lambda p: None, "^not a valid file name$"),
    ],
)
def test_bad_files_are_named_in_a_few_words(
    tmp_path: Path, name: str, write: Callable[[Path], object], reason: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name, LIMIT)
    assert len(str(caught.value)) < 80
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path, grey: np.ndarray) -> None:
    write_png(tmp_path / "a.png", grey)
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="no permission"):
        read_image(tmp_path / "a.png", LIMIT)


def test_every_suffix_has_a_reader() -> None:
    pictures = {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"}
    assert pictures | {".dcm", ".nii", ".nii.gz"} == set(KIND_OF_SUFFIX)
    assert set(KIND_OF_SUFFIX.values()) < set(READERS)


@pytest.mark.filterwarnings("ignore")
def test_no_bytes_raise_anything_but_image_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    noise = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    seeds: list[bytes] = []
    exif = Image.Exif()
    exif[0x0112] = 3
    for mode, suffix, options in (
        ("L", "png", {}), ("RGBA", "png", {}), ("P", "png", {}), ("I;16", "png", {}),
        ("L", "jpg", {"exif": exif}), ("RGB", "jpg", {"progressive": True}),
        ("L", "tif", {}), ("F", "tif", {}), ("RGB", "tif", {"compression": "tiff_lzw"}),
        ("1", "tif", {"compression": "group4"}), ("RGB", "tif", {"compression": "jpeg"}),
    ):  # fmt: skip
        file = tmp_path / f"seed.{suffix}"
        image = Image.fromarray(noise)
        image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
        image.save(file, **options)
        seeds.append(file.read_bytes())
    outcomes = {"read": 0, "refused": 0}
    for k in range(600):
        data = bytearray(seeds[k % len(seeds)])
        for _ in range(rng.integers(1, 12)):
            # Headers hold the interesting bytes.
            place = int(rng.integers(0, min(len(data), 120) if rng.random() < 0.7 else len(data)))
            data[place] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del data[int(rng.integers(0, len(data))) :]
        file = tmp_path / f"mutant{('.png', '.jpg', '.tif')[k % 3]}"
        file.write_bytes(data)
        for read in (read_image, read_mask):
            try:
                image_or_mask = read(file, LIMIT)
                assert image_or_mask.dtype in (np.uint8, np.uint16, np.float32, bool)
                outcomes["read"] += 1
            except ImageError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_masks_of_any_maximum(tmp_path: Path, top: int) -> None:
    lesion = np.zeros((16, 24), dtype=bool)
    lesion[4:9, 5:20] = True
    dtype = np.uint16 if top > 255 else np.uint8
    Image.fromarray(np.where(lesion, top, 0).astype(dtype)).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", LIMIT), lesion)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_that_number_lesions(tmp_path: Path, suffix: str) -> None:
    labels = np.zeros((16, 24), dtype=np.uint8)
    labels[4:9, 5:20] = 1
    labels[5:7, 6:9], labels[7:9, 12:19] = 2, 4
    for image in (labels, labels.astype(np.uint16) * 1000, labels.astype(np.float32)):
        if suffix == ".tif" or image.dtype != np.float32:
            Image.fromarray(image).save(tmp_path / f"m{suffix}")
            assert np.array_equal(read_mask(tmp_path / f"m{suffix}", LIMIT), labels > 0)
    coloured = Image.fromarray(labels, mode="P")
    coloured.putpalette([0, 0, 0, 9, 0, 0, 0, 120, 0, 0, 0, 0, 255, 255, 255])
    coloured.save(tmp_path / f"m{suffix}")
    assert np.array_equal(read_mask(tmp_path / f"m{suffix}", LIMIT), labels > 0)


@pytest.mark.parametrize("name", ["m.jpg", "jpeg named.png", "m.tif"])
def test_masks_of_lossy_compression_have_no_noise_around_lesions(tmp_path: Path, name: str) -> None:
    lesion = np.hypot(*np.mgrid[-20:20, -20:20]) < 9
    image = Image.fromarray(lesion.astype(np.uint8) * 255)
    if name == "m.tif":
        image.save(tmp_path / name, compression="jpeg")
    else:
        image.save(tmp_path / name, format="JPEG", quality=50)
    assert (read_image(tmp_path / name, LIMIT) > 0).sum() > lesion.sum() + 50
    assert np.mean(read_mask(tmp_path / name, LIMIT) != lesion) < 0.02


@pytest.mark.parametrize(
    ("error", "reason", "passes"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error)", True),
        (MemoryError(), "not enough memory to decode it", True),
        (OSError("broken data stream"), "damaged file", False),
        (OSError(errno.EINVAL, "Invalid argument"), "damaged file", False),
        (EOFError(), "truncated file", False),
    ],
)
def test_what_lies_outside_a_file_is_told_from_what_is_wrong_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, passes: bool
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setitem(READERS, "picture", fail)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.png", LIMIT)
    assert str(caught.value) == reason
    assert isinstance(caught.value, PassingImageError) is passes


def test_lossy_colour_and_empty_masks(tmp_path: Path) -> None:
    lesion = np.zeros((32, 32), dtype=bool)
    lesion[8:24, 8:16] = True
    red = np.stack([lesion * 255, lesion * 0, lesion * 0], axis=-1).astype(np.uint8)
    Image.fromarray(red).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", LIMIT), lesion)
    Image.fromarray(lesion.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=60)
    assert np.array_equal(read_mask(tmp_path / "m.jpg", LIMIT), lesion)
    Image.fromarray(lesion & False).save(tmp_path / "m.png")
    assert not read_mask(tmp_path / "m.png", LIMIT).any()


def test_real_originals_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "chestxray8" / "original").glob("*.png"))
    assert files
    for file in files[:4]:
        image = read_image(file, 2_000_000)
        assert image.shape[:2] == (1024, 1024)
