"""Results of `predict` as DICOM objects that refer to the images they came from.

For each source image a Secondary Capture (input | healthy twin | map, with a colour bar) and, of
methods that make maps, the map on the source's own grid: a Parametric Map in floats or, of images
without coordinates of the patient (X-rays), a fractional Segmentation.
Every object says in itself that it is research and not for diagnosis.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.spatial import get_image_coordinate_system
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from a2bgan.data.dicom import read_header
from a2bgan.data.preprocessing import DataConfig, to_original_grid
from a2bgan.data.readers import ImageError, is_dicom
from a2bgan.detection.predict import Prediction
from a2bgan.errors import InputError
from a2bgan.report.pictures import draw_triptych

MARK = "RESEARCH ONLY - NOT FOR DIAGNOSIS"
CAPTURE_SERIES, MAP_SERIES = 9801, 9802

# What a result needs of its source, and nothing that tells whose it is.
KEPT = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows",
    "Columns", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "Laterality",
    "PatientOrientation", "PositionReferenceIndicator", "NumberOfFrames", "ImageType",
    "BitsAllocated", "BitsStored",
)  # fmt: skip

# May be absent or empty in a file, and are expected to be there, if empty.
EXPECTED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass
class _Study:
    """The series of one study's results."""

    folder: Path
    captures: str = field(default_factory=generate_uid)
    maps: str = field(default_factory=generate_uid)
    count: int = 0


class DicomResults:
    """Writes ``OUT/study-NNNN/capture-NNNN.dcm`` and ``map-NNNN.dcm``.

    Args:
        out: folder to write; made if it is missing.
        config: how images were preprocessed, to bring maps back to their place.
        vmax: top of the map's scale.
        keep_identifiers: copy patient and study as they are, so that an archive files the results
            with their study. Otherwise the patient is the pseudonym of the prediction, and dates,
            accession number and names stay out; UIDs are kept, which refer to the source.

    Raises InputError if the folder cannot be written.
    """

    def __init__(
        self, out: Path, config: DataConfig, *, vmax: float, keep_identifiers: bool = False
    ) -> None:
        self.out = out
        self.written = 0
        self.left_out: list[tuple[str, str]] = []
        self._config = config
        self._vmax = vmax
        self._keep_identifiers = keep_identifiers
        self._studies: dict[str, _Study] = {}
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: cannot be created ({error.strerror})") from None

    def passing(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The same predictions, each written as it passes. What cannot be is in `left_out`."""
        for prediction in predictions:
            if not prediction.error:
                try:
                    self._write(prediction)
                except ImageError as error:
                    self.left_out.append((prediction.input.name, str(error)))
                except OSError as error:
                    raise InputError(
                        f"{self.out}: cannot be written ({error.strerror or error})"
                    ) from None
            yield prediction

    def _write(self, prediction: Prediction) -> None:
        if not is_dicom(prediction.input.path):
            raise ImageError("no DICOM file, so no DICOM result")
        source = self._source(prediction)
        uid = str(source.StudyInstanceUID)
        if uid not in self._studies:
            self._studies[uid] = _Study(self.out / f"study-{len(self._studies) + 1:04d}")
            self._studies[uid].folder.mkdir(exist_ok=True)
        study = self._studies[uid]
        study.count += 1
        try:
            capture = self._capture(prediction, source, study)
            # Checkers ask for it, if empty, in captures and Parametric Maps, not in Segmentations.
            capture.Laterality = source.get("Laterality") or ""
            capture.save_as(study.folder / f"capture-{study.count:04d}.dcm")
            anomaly_map = self._map(prediction, source, study)
            if isinstance(anomaly_map, ParametricMap):
                anomaly_map.Laterality = capture.Laterality
            elif anomaly_map is not None:
                anomaly_map.PatientOrientation = source.get("PatientOrientation")
            if anomaly_map is not None:
                anomaly_map.save_as(study.folder / f"map-{study.count:04d}.dcm")
        except OSError:
            raise
        except Exception:
            # Headers may hold anything, and texts of pydicom and highdicom quote what they hold.
            raise ImageError("its header does not allow a DICOM result") from None
        self.written += 1

    def _source(self, prediction: Prediction) -> Dataset:
        """The header that results are made from: the file's own, or what identifies nobody."""
        header = read_header(prediction.input.path)
        source = header
        if not self._keep_identifiers:
            source = Dataset()
            source.file_meta = header.file_meta
            for keyword in KEPT:
                if keyword in header:
                    source[keyword] = header[keyword]
            who = prediction.input.patient_id or "unknown"
            source.PatientID, source.PatientName = who, f"{who}^"
        for keyword in EXPECTED:
            if keyword not in source:
                setattr(source, keyword, "")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            if not source.get(keyword):
                raise ImageError(f"no {keyword}, so nothing to refer to")
        return source

    def _capture(self, prediction: Prediction, source: Dataset, study: _Study) -> Dataset:
        assert prediction.image is not None and prediction.score is not None
        picture = draw_triptych(
            prediction.image,
            prediction.twin,
            prediction.anomaly_map,
            score=prediction.score,
            vmax=self._vmax,
            title=MARK,
        )
        capture = SCImage.from_ref_dataset(
            ref_dataset=source,
            pixel_array=np.asarray(picture.convert("RGB")),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),  # asked for, and taken out again below
            series_instance_uid=study.captures,
            series_number=CAPTURE_SERIES,
            sop_instance_uid=generate_uid(),
            instance_number=study.count,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **self._equipment("capture"),
        )
        capture.PatientOrientation = []  # a picture of pictures has none
        capture.BurnedInAnnotation = "NO"  # of the patient's identity
        capture.ImageComments = f"{MARK}; score {prediction.score:.6f}"
        capture.DerivationDescription = "Input, healthy twin and anomaly map"
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        capture.SourceImageSequence = [reference]
        return capture

    def _map(self, prediction: Prediction, source: Dataset, study: _Study) -> Dataset | None:
        if prediction.anomaly_map is None or int(source.get("NumberOfFrames") or 1) > 1:
            return None
        placed = to_original_grid(
            prediction.anomaly_map, int(source.Rows), int(source.Columns), self._config
        )
        common: dict[str, Any] = {
            "source_images": [source],
            "series_instance_uid": study.maps,
            "series_number": MAP_SERIES,
            "sop_instance_uid": generate_uid(),
            "instance_number": study.count,
            "device_serial_number": "none",
            "content_label": "ANOMALY_MAP",
            "content_description": MARK,
            **self._equipment("anomaly map"),
        }
        if get_image_coordinate_system(source) is None:
            return self._shares(placed, common)
        mapping = RealWorldValueMapping(
            lut_label="anomaly",
            lut_explanation="distance from healthy",
            unit=codes.UCUM.NoUnits,
            value_range=(0.0, float(max(placed.max(), self._vmax))),
            slope=1.0,
            intercept=0.0,
        )
        return ParametricMap(
            pixel_array=placed,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=self._vmax / 2,
                    window_width=self._vmax,
                    voi_lut_function="LINEAR_EXACT",
                )
            ],
            **common,
        )

    def _shares(self, placed: np.ndarray, common: dict[str, Any]) -> Dataset:
        """The map as shares of `vmax`, in steps of 1/255: X-rays are projections, without the
        coordinates of a patient that highdicom's Parametric Map asks for."""
        abnormal = codes.SCT.MorphologicallyAbnormalStructure
        segment = SegmentDescription(
            segment_number=1,
            segment_label=f"differs from healthy, 1 is {self._vmax:g} or more",
            segmented_property_category=abnormal,
            segmented_property_type=abnormal,
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name="a2bgan",
                version=version("a2bgan"),
                family=codes.cid7162.ArtificialIntelligence,
            ),
        )
        return Segmentation(
            pixel_array=np.clip(placed / self._vmax, 0, 1),
            segmentation_type="FRACTIONAL",
            fractional_type="PROBABILITY",
            segment_descriptions=[segment],
            omit_empty_frames=False,
            **common,
        )

    def _equipment(self, kind: str) -> dict[str, Any]:
        return {
            "manufacturer": "a2bgan",
            "manufacturer_model_name": "a2bgan",
            "software_versions": version("a2bgan"),
            "series_description": f"{MARK}: a2bgan {kind}",
        }
