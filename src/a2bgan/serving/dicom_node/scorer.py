"""The thread of a DICOM node that scores what was received."""

import threading
from collections.abc import Callable

import numpy as np

from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.pseudonyms import identify, pseudonym
from a2bgan.detection import RATE
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import NOT_FINITE, Prediction
from a2bgan.detection.trained_model import Trained
from a2bgan.report.dicom_results import DicomObjects, encoded
from a2bgan.report.measurement_report import add_p_value
from a2bgan.serving.decoder import Decoder
from a2bgan.serving.dicom_node.queue import Queue

SECONDS = 60.0
"""In which an image must have been decoded."""

PAUSE = 10.0
"""Seconds until the next try where it is not the image that fails."""


class Scorer(threading.Thread):
    """Scores one object after the other, until `stop` is set.

    Pixels are decoded by a process of their own, which a damaged file may take down without harm.

    Args:
        send: whether results are sent; they hold the source's identifiers then, or where
            `keep_identifiers` is set.
        log: gets one line for what went wrong, without identifiers.
        calibration: the run's; without it there are no regions.

    Raises InputError if the key of pseudonyms is needed and cannot be used.
    """

    def __init__(
        self,
        queue: Queue,
        trained: Trained,
        *,
        send: bool,
        keep_identifiers: bool,
        stop: threading.Event,
        log: Callable[[str], None],
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(name="scorer", daemon=True)
        self._queue = queue
        self._trained = trained
        self._send = send
        self._stop_asked = stop
        self._log = log
        self._calibration = calibration
        self._keep_identifiers = keep_identifiers or send
        if not self._keep_identifiers:
            pseudonym("")  # a key that cannot be used shows now
        self._decoder = Decoder(trained.data, SECONDS)
        self._objects = DicomObjects(
            trained.data,
            vmax=trained.map_scale,
            keep_identifiers=self._keep_identifiers,
            secret=queue.secret,
            read=self._decoder.film,
        )

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                for key in self._queue.wait(for_sending=False, seconds=1.0):
                    if self._stop_asked.is_set():
                        break
                    try:
                        self._score(key)
                    except OSError as error:
                        self._pause(f"results cannot be kept ({error.strerror})")
                    except Exception as error:  # PyTorch's: out of memory, a lost device
                        self._pause(f"the model fails ({type(error).__name__})")
        finally:
            self._decoder.close()

    def _pause(self, why: str) -> None:
        self._log(f"{why}; trying again every {PAUSE:g} s")
        self._stop_asked.wait(PAUSE)

    def _score(self, key: str) -> None:
        for again in (False, True):
            try:
                results = self._judge(key)
                break
            except PassingImageError as error:
                self._pause(f"an image cannot be read now ({error})")
                return
            except ImageError as error:
                if again:
                    self._queue.give_up(key)
                    self._log(f"an image cannot be scored: {error} -> unusable/{key}.dcm")
                    return
                # The reading process may have been ended from outside, with this one about to be.
                if self._stop_asked.wait(0.2):
                    return
        self._queue.finish(key, results, send=self._send)

    def _judge(self, key: str) -> dict[str, bytes]:
        """The results, as files hold them. Raises ImageError."""
        path = self._queue.received / f"{key}.dcm"
        image = self._decoder.load(path)
        (found,) = self._trained.detect([image[np.newaxis]])
        if not np.isfinite(float(found.scores[0])):
            raise ImageError(NOT_FINITE)
        item = Input("", path, identify(path, "", self._keep_identifiers))
        known = self._calibration
        if known is not None and known.unfamiliar(image[np.newaxis]):
            self._log("an image looks like none that was learned from: its score means nothing")
        threshold = None if known is None else known.pixel_threshold
        made = self._objects.make(Prediction.of(found, 0, item, threshold))
        if known is not None:  # a node never knows all images of a patient: of this one alone
            (p_value,) = known.p_values([""], found.scores.astype(np.float64))
            add_p_value(made["report"], float(p_value), RATE)
        return {name: encoded(dataset) for name, dataset in made.items()}
