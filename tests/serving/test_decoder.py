import os
import signal

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.preprocessing import load_image
from a2bgan.data.readers import ImageError
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
