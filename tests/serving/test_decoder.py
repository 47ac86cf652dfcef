import operator
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.preprocessing import load_image
from a2bgan.serving import decoder as decoder_module
from a2bgan.serving.decoder import Decoder
from a2bgan.training.run_folder import RunFolder


def test_a_reader_that_dies_or_hangs_costs_one_file(run, tmp_path, make_texture, capfd):
    config = RunFolder.open(run).config().data
    good = tmp_path / "good.png"
    Image.fromarray(make_texture(0)).save(good)
    wanted = load_image(good, config)
    decoder = Decoder(config, seconds=60)
    try:
        np.testing.assert_array_equal(decoder.load(good), wanted)
        with pytest.raises(ImageError, match="missing file"):
            decoder.load(tmp_path / "none.png")

        cut = tmp_path / "cut.tiff"
        Image.fromarray(make_texture(0)).save(cut, compression="tiff_deflate")
        content = bytearray(cut.read_bytes())
        content[20:60] = bytes(40)
        cut.write_bytes(content)
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            decoder.load(cut)
        assert capfd.readouterr() == ("", "")  # libtiff would have a word to say

        process = decoder._process
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        np.testing.assert_array_equal(decoder.load(good), wanted)

        os.kill(decoder._process.pid, signal.SIGSTOP)
        decoder.seconds = 0.2
        with pytest.raises(ImageError, match="not read within"):
            decoder.load(good)
        decoder.seconds = 60
        np.testing.assert_array_equal(decoder.load(good), wanted)
    finally:
        decoder.close()


@pytest.fixture
def image(tmp_path: Path, make_texture) -> Path:
    path = tmp_path / "good.png"
    Image.fromarray(make_texture(0)).save(path)
    return path


def test_a_reader_that_is_slow_to_start_is_ended(image, monkeypatch):
    config = DataConfig(size=32)
    decoder = Decoder(config, seconds=60)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(decoder_module, "SECONDS_TO_START", 0)
            with pytest.raises(ImageError, match="does not start"):
                decoder.load(image)
        assert decoder._process is None and decoder._connection is None
        np.testing.assert_array_equal(decoder.load(image), load_image(image, config))
    finally:
        decoder.close()


def test_a_reader_that_ends_while_it_starts_leaves_nothing(image, monkeypatch):
    monkeypatch.setattr(decoder_module, "_work", operator.is_)  # returns at once
    decoder = Decoder(DataConfig(size=32), seconds=60)
    with pytest.raises(ImageError, match="does not start"):
        decoder.load(image)
    assert decoder._process is None and decoder._connection is None
    decoder.close()


def test_a_reading_that_is_broken_off_does_not_answer_the_next(image, monkeypatch):
    decoder = Decoder(DataConfig(size=32), seconds=60)

    def broken_off(path: Path) -> bytes:
        decoder._start()
        raise KeyboardInterrupt

    try:
        monkeypatch.setattr(decoder, "_ask", broken_off)
        with pytest.raises(KeyboardInterrupt):
            decoder.load(image)
        assert decoder._process is None
    finally:
        decoder.close()


def test_a_fault_that_may_pass_stays_one(image, tmp_path):
    decoder = Decoder(DataConfig(size=32), 20)
    try:
        with pytest.raises(PassingImageError, match="missing file"):
            decoder.load(tmp_path / "gone.png")
        (tmp_path / "bad.png").write_bytes(b"no picture")
        with pytest.raises(ImageError) as found:
            decoder.load(tmp_path / "bad.png")
        assert not isinstance(found.value, PassingImageError)
    finally:
        decoder.close()
