import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, ReadOptions
from a2bgan.data.formats.pixels_at_once import ALL_THREADS, SMALL, PixelsAtOnce
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.formats.volumes import forget_volumes, read_volume
from a2bgan.data.preprocessing import load_image, load_with_shape

SIDE = 1200  # of images that are counted
PIXELS = SIDE * SIDE
CONFIG = DataConfig(size=32)


@pytest.fixture
def room(monkeypatch):
    """The bound of all readers, with room for two images of the tests."""
    monkeypatch.setattr(ALL_THREADS, "most", 2 * PIXELS)
    monkeypatch.setattr(ALL_THREADS, "highest", 0)
    yield ALL_THREADS
    assert ALL_THREADS.under_way == 0


def write_image(path, side=SIDE):
    values = np.zeros((side, side), np.uint8)
    values[::7] = 200
    Image.fromarray(values).save(path)
    return path


def write_kinds(folder, write_dicom):
    """One image of each kind of reader."""
    values = np.zeros((SIDE, SIDE), np.uint16)
    values[::7] = 200
    deep = np.zeros((SIDE, SIDE, 3), np.uint16)
    deep[::7] = 60_000
    import imagecodecs
    import tifffile

    folder.mkdir(exist_ok=True)
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(folder / "float.tif", values.astype(np.float32))
    Image.fromarray((values % 256).astype(np.uint8)).save(folder / "grey.jpg")
    write_image(folder / "grey.png")
    return [*folder.iterdir(), write_dicom(folder / "film.dcm", values)]


def test_threads_stay_within_the_bound(room, tmp_path, write_dicom):
    paths = write_kinds(tmp_path / "kinds", write_dicom) * 2
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda path: load_image(path, CONFIG), paths))
    assert all(image.shape == (1, 32, 32) for image in images)
    assert PIXELS <= room.highest <= 2 * PIXELS


def test_an_image_above_the_bound_is_read_alone(room, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "most", PIXELS // 2)
    paths = [write_image(tmp_path / f"{k}.png") for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda path: load_with_shape(path, CONFIG), paths))) == 4
    assert room.highest == PIXELS


def test_damaged_images_give_their_room_back(room, tmp_path):
    content = write_image(tmp_path / "good.png").read_bytes()
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    for path in paths:
        path.write_bytes(content[: len(content) // 2])

    def read(path):
        with pytest.raises(ImageError):
            read_picture(path, ReadOptions(10**8))
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, paths))
    assert PIXELS <= room.highest <= 2 * PIXELS


def test_small_images_are_not_counted(room, tmp_path):
    load_image(write_image(tmp_path / "small.png", 256), CONFIG)
    assert room.highest == 0


def test_volumes_are_counted_too(room, tmp_path):
    values = np.random.default_rng(0).random((120, 120, 120), np.float32)
    paths = [tmp_path / f"{k}.nii" for k in range(4)]
    for path in paths:
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_volume, paths))
    forget_volumes()
    assert values.size <= room.highest <= 2 * PIXELS


def test_a_second_claim_of_a_thread_does_not_wait():
    room = PixelsAtOnce(2 * SMALL)
    both = threading.Barrier(2, timeout=20)

    def work():
        with room.one_image():
            room.claim(SMALL)
            both.wait()  # both hold room
            with room.one_image():
                room.claim(2 * SMALL)
            both.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert (room.under_way, room.highest) == (0, 4 * SMALL)


def test_small_images_pay_next_to_nothing():
    room = PixelsAtOnce(SMALL)
    started = time.perf_counter()
    for _ in range(1000):
        with room.one_image():
            room.claim(10_000)
    assert time.perf_counter() - started < 0.1  # 100 us each; reading takes more
