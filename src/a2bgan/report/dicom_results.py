"""Results of `predict` as DICOM objects that refer to the images they came from.

For each source image a Secondary Capture (input | healthy twin | map, with a colour bar) and, of
methods that make maps, the map on the source's own grid: a Parametric Map in floats or, of images
without coordinates of the patient (X-rays), a fractional Segmentation. Regions above the calibrated
threshold, where there are any, are a binary Segmentation on the same grid. A series that was scored
as a volume gets one of each: a capture of its most suspicious slice, a map with a frame for every
slice, and a Segmentation with a frame for every slice that has a region. A structured report has
score, p-value, flag and regions as values, see `measurement_report`.
Every object says in itself that it is research and not for diagnosis.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.spatial import get_image_coordinate_system
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.dicom.header import read_header
from a2bgan.data.formats.dicom.pixels import chosen_frame
from a2bgan.data.formats.dicom.series import series_grid
from a2bgan.data.formats.grid import Grid, in_stored_order
from a2bgan.data.formats.kinds import is_dicom, is_enhanced
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.preprocessing import to_original_grid
from a2bgan.detection.decisions.contours import Place, place_mask
from a2bgan.detection.predict import Prediction
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file
from a2bgan.report.case_facts import slice_text
from a2bgan.report.film import Film, film_of, read_film
from a2bgan.report.measurement_report import add_p_value, measurement_report
from a2bgan.report.pictures import draw_triptych
from a2bgan.rounding import score_text

MARK = "RESEARCH ONLY - NOT FOR DIAGNOSIS"
CAPTURED = 1024
"""Longest side of an image in a capture: captures are not compressed, and archives keep them."""

CAPTURE_SERIES, MAP_SERIES, REGION_SERIES, REPORT_SERIES = 9801, 9802, 9803, 9804

# What a result needs of its source, and nothing that tells whose it is.
KEPT = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows",
    "Columns", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "Laterality",
    "PatientOrientation", "PositionReferenceIndicator", "NumberOfFrames", "ImageType",
    "BitsAllocated", "BitsStored", "InstanceNumber", "BurnedInAnnotation",
)  # fmt: skip

# May be absent or empty in a file, and are expected to be there, if empty.
EXPECTED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


MANUFACTURER = "a2bgan"

# Headers may hold anything, and texts of pydicom and highdicom quote what they hold.
_UNFIT = "its header does not allow a DICOM result"


@dataclass
class _Series:
    """The series that results go to, and the number of the last one."""

    captures: str
    maps: str
    regions: str
    reports: str
    count: int = 0


class DicomObjects:
    """Makes the DICOM objects of predictions.

    Args:
        config: how images were preprocessed, to bring maps back to their place.
        vmax: top of the map's scale.
        keep_identifiers: copy patient and study as they are, so that an archive files the results
            with their study. Otherwise the patient is the pseudonym of the prediction, and dates,
            accession number and names stay out; UIDs are kept, which refer to the source.
        secret: with one, UIDs follow from it and from the source's, so that an image scored again
            gets the same; there is one series of each kind for a series of sources, numbered like
            them. Without, UIDs are random, and there is one series of each kind a study.
        read: reads the film of a file; by default `read_film` in this process.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        vmax: float,
        keep_identifiers: bool = False,
        secret: str | None = None,
        read: Callable[[Path], Film] | None = None,
    ) -> None:
        self._config = config
        self._read_film = read or partial(read_film, config=config)
        self._vmax = vmax
        self._keep_identifiers = keep_identifiers
        self._secret = secret
        self._studies: dict[str, _Series] = {}

    def make(self, prediction: Prediction) -> dict[str, Dataset]:
        """Make "capture" and "report"; of methods that make maps "map"; where there are any,
        "regions". The report is without p-value and flag, which depend on all images of a patient:
        see `add_p_value`. Raises ImageError."""
        if is_enhanced(prediction.input.path):
            raise ImageError("an enhanced DICOM file gets its map as NIfTI alone")
        grid, files = _files(prediction.input.path)
        try:
            sources = [self._source(file, prediction) for file in files]
            source = sources[0]
            series = self._series(source)
            series.count += 1
            capture = self._capture(prediction, sources, series)
            # Checkers ask for it, if empty, in captures and Parametric Maps, not in Segmentations.
            capture.Laterality = source.get("Laterality") or ""
            made: dict[str, Dataset] = {"capture": capture}
            if self._is_placeable(prediction, sources):
                made["map"] = self._map(prediction, sources, grid, series)
                if (regions := self._regions(prediction, sources, grid, series)) is not None:
                    made["regions"] = regions
            made["report"] = self._report(prediction, sources, made.get("regions"), series)
            for each in made.values():
                if isinstance(each, ParametricMap):
                    each.Laterality = capture.Laterality
                elif isinstance(each, Segmentation):
                    each.PatientOrientation = source.get("PatientOrientation")
            return made
        except (ImageError, InputError, MemoryError):
            raise
        except Exception:
            raise ImageError(_UNFIT) from None

    def _series(self, source: Dataset) -> _Series:
        if self._secret is not None:
            of = str(source.SeriesInstanceUID)
            number = source.get("InstanceNumber")
            before = int(number) - 1 if isinstance(number, int) and number > 0 else 0
            kinds = ("captures", "maps", "regions", "reports")
            captures, maps, regions, reports = (self._uid(kind, of) for kind in kinds)
            return _Series(captures, maps, regions, reports, before)
        study = str(source.StudyInstanceUID)
        if study not in self._studies:
            captures, maps, regions, reports = (generate_uid() for _ in range(4))
            self._studies[study] = _Series(captures, maps, regions, reports)
        return self._studies[study]

    def _uid(self, kind: str, source: str) -> str:
        if self._secret is None:
            return generate_uid()
        return generate_uid(entropy_srcs=[self._secret, kind, source])

    def _source(self, file: Path, prediction: Prediction) -> Dataset:
        """The header to make results from: the file's own, or its part without identifiers."""
        header = read_header(file)
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

    def _capture(
        self, prediction: Prediction, sources: Sequence[Dataset], series: _Series
    ) -> Dataset:
        assert prediction.image is not None and prediction.score is not None
        source = sources[0]
        film = film_of(self._read_film, prediction.shown.path, prediction.image)
        facts = [slice_text(prediction.shown.path), f"score {score_text(prediction.score)}"]
        picture = draw_triptych(
            film.reduced(CAPTURED),
            prediction.twin,
            prediction.anomaly_map,
            prediction.mask,
            heading=[MARK, " · ".join(filter(None, facts))],
            vmax=self._vmax,
        )
        capture = SCImage.from_ref_dataset(
            ref_dataset=source,
            pixel_array=np.asarray(picture.convert("RGB")),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),  # asked for, and taken out again below
            series_instance_uid=series.captures,
            series_number=CAPTURE_SERIES,
            sop_instance_uid=self._uid("capture", str(source.SOPInstanceUID)),
            instance_number=series.count,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **self._equipment("capture"),
        )
        capture.PatientOrientation = []  # a picture of pictures has none
        # Of its pixels, which are the sources', nothing more is known than these say.
        stated = {str(source.get("BurnedInAnnotation")) for source in sources}
        if "YES" in stated or stated == {"NO"}:
            capture.BurnedInAnnotation = "YES" if "YES" in stated else "NO"
        capture.ImageComments = f"{MARK}; score {prediction.score:.6f}"
        capture.DerivationDescription = "Input, healthy twin and anomaly map"
        capture.SourceImageSequence = [_reference(each, self._config) for each in sources]
        return capture

    def _is_placeable(self, prediction: Prediction, sources: Sequence[Dataset]) -> bool:
        """True where there is a map and the sources allow objects on their grid."""
        source = sources[0]
        if prediction.anomaly_map is None or int(source.get("NumberOfFrames") or 1) > 1:
            return False
        # A Segmentation of several images needs the coordinates too.
        return len(sources) == 1 or not _is_placeless(source)

    def _map(
        self, prediction: Prediction, sources: Sequence[Dataset], grid: Grid | None, series: _Series
    ) -> Dataset:
        source = sources[0]
        if grid is None:
            assert prediction.anomaly_map is not None
            placed = self._on_grid_of(source)(prediction.anomaly_map)
        else:
            assert prediction.volume_map is not None
            placed = _frames(prediction.volume_map, grid)
        common = {
            **self._common("map", sources, series),
            "series_instance_uid": series.maps,
            "series_number": MAP_SERIES,
            "content_label": "ANOMALY_MAP",
            **self._equipment("anomaly map"),
        }
        if _is_placeless(source):
            label = f"differs from healthy, 1 is {self._vmax:g} or more"
            # As shares of `vmax`, in steps of 1/255: X-rays are projections, without the
            # coordinates of a patient that highdicom's Parametric Map asks for.
            return Segmentation(
                pixel_array=np.clip(placed / self._vmax, 0, 1),
                segmentation_type="FRACTIONAL",
                fractional_type="PROBABILITY",
                segment_descriptions=[_segment(label)],
                omit_empty_frames=False,
                **common,
            )
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

    def _regions(
        self, prediction: Prediction, sources: Sequence[Dataset], grid: Grid | None, series: _Series
    ) -> Dataset | None:
        """All regions as one segment; None where there are none, or none was looked for."""
        if grid is None:
            if prediction.mask is None:
                return None
            placed = place_mask(prediction.mask, self._on_grid_of(sources[0]))
        else:
            if prediction.volume_mask is None:
                return None
            placed = _frames(prediction.volume_mask, grid)
        if not placed.any():
            return None
        return Segmentation(
            pixel_array=placed,
            segmentation_type="BINARY",
            segment_descriptions=[_segment("differs from healthy, above the threshold")],
            **self._common("regions", sources, series),
            series_instance_uid=series.regions,
            series_number=REGION_SERIES,
            content_label="ANOMALY_REGIONS",
            **self._equipment("anomaly regions"),
        )

    def _report(
        self,
        prediction: Prediction,
        sources: Sequence[Dataset],
        regions: Dataset | None,
        series: _Series,
    ) -> Dataset:
        assert prediction.score is not None
        source = sources[0]
        report = measurement_report(
            sources,
            regions,
            score=prediction.score,
            comment=MARK,
            frame=_frame_number(source, self._config),
            series_uid=series.reports,
            series_number=REPORT_SERIES,
            sop_instance_uid=self._uid("report", str(source.SOPInstanceUID)),
            instance_number=series.count,
        )
        report.SeriesDescription = self._equipment("report")["series_description"]
        return report

    def _on_grid_of(self, source: Dataset) -> Place:
        return partial(
            to_original_grid,
            height=int(source.Rows),
            width=int(source.Columns),
            config=self._config,
        )

    def _common(self, kind: str, sources: Sequence[Dataset], series: _Series) -> dict[str, Any]:
        """Arguments that objects on the sources' grid have in common."""
        return {
            "source_images": sources,
            "sop_instance_uid": self._uid(kind, str(sources[0].SOPInstanceUID)),
            "instance_number": series.count,
            "device_serial_number": "none",
            "content_description": MARK,
        }

    def _equipment(self, kind: str) -> dict[str, Any]:
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": "a2bgan",
            "software_versions": version("a2bgan"),
            "series_description": f"{MARK}: a2bgan {kind}",
        }


def _is_placeless(source: Dataset) -> bool:
    """True where an image has no patient coordinates, as X-rays have none."""
    return get_image_coordinate_system(source) is None


def _frames(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Values (X, Y, Z) along RAS+ axes as (slices, rows, columns) of a series."""
    return np.ascontiguousarray(in_stored_order(values, grid).T)


def _segment(label: str) -> SegmentDescription:
    abnormal = codes.SCT.MorphologicallyAbnormalStructure
    return SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=abnormal,
        segmented_property_type=abnormal,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="a2bgan", version=version("a2bgan"), family=codes.cid7162.ArtificialIntelligence
        ),
    )


def _files(path: Path) -> tuple[Grid | None, list[Path]]:
    """The DICOM files of an input: of a series its slices by position, and their grid."""
    if path.is_dir():
        return series_grid(path)
    if not is_dicom(path):
        raise ImageError("no DICOM file, so no DICOM result")
    return None, [path]


def _reference(source: Dataset, config: DataConfig) -> Dataset:
    """To an image, or to the one of its frames that `data.frames` takes."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if (number := _frame_number(source, config)) is not None:
        reference.ReferencedFrameNumber = number
    return reference


def _frame_number(source: Dataset, config: DataConfig) -> int | None:
    """Which frame of several is the image, from 1 on; None where there is one alone."""
    if int(source.get("NumberOfFrames") or 1) == 1:
        return None
    return 1 + chosen_frame(source, config.read_options)


def encoded(dataset: Dataset) -> bytes:
    """The content of its DICOM file. Raises ImageError where its elements do not allow that: a
    source's are copied as they are, a name stored as a number among them."""
    content = BytesIO()
    try:
        dataset.save_as(content)
    except MemoryError:
        raise
    except Exception:
        raise ImageError(_UNFIT) from None
    return content.getvalue()


class DicomResults:
    """Writes ``OUT/study-NNNN/capture-NNNN.dcm``, ``map-NNNN.dcm``, ``regions-NNNN.dcm`` and
    ``report-NNNN.dcm``; OUT is made if it is missing.

    Reports are written with the others, and once more with their p-values by `add_p_values`, since
    these depend on all images of a patient.

    Studies are counted from 1, so OUT must be empty: results of others would stay among the new
    ones. Raises InputError if it is not, or cannot be written.
    """

    def __init__(self, out: Path, objects: DicomObjects) -> None:
        self.out = out
        self.written = 0
        self.left_out: list[tuple[str, str]] = []
        self._objects = objects
        self._folders: dict[str, Path] = {}
        self._reports: list[Path | None] = []  # of each image with a score
        try:
            out.mkdir(parents=True, exist_ok=True)
            taken = any(out.iterdir())
        except OSError as error:
            raise InputError(f"{out}: cannot be created ({error.strerror})") from None
        if taken:
            raise InputError(f"{out}: is not empty: choose another --dicom-out, or empty it first")

    def passing(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The same predictions, each written as it passes. What cannot be is in `left_out`."""
        for prediction in predictions:
            if not prediction.error:
                try:
                    self._reports.append(self._write(self._objects.make(prediction)))
                except ImageError as error:
                    self._reports.append(None)
                    self.left_out.append((prediction.input.name, str(error)))
                except OSError as error:
                    raise InputError(
                        f"{self.out}: cannot be written ({error.strerror or error})"
                    ) from None
            yield prediction

    def add_p_values(self, p_values: Sequence[float], rate: float) -> None:
        """Complete the reports with the p-value of each image that has a score, in the order they
        passed; flagged are those up to `rate`. Raises InputError."""
        for file, p_value in zip(self._reports, p_values, strict=True):
            if file is None:
                continue
            try:
                report = dcmread(file)
                add_p_value(report, p_value, rate)
                with atomic_file(file) as partial:
                    partial.write_bytes(encoded(report))
            except OSError as error:
                raise InputError(f"{file}: cannot be written ({error.strerror or error})") from None

    def _write(self, made: dict[str, Dataset]) -> Path:
        contents = {kind: encoded(dataset) for kind, dataset in made.items()}
        study = str(made["capture"].StudyInstanceUID)
        if study not in self._folders:
            self._folders[study] = self.out / f"study-{len(self._folders) + 1:04d}"
            self._folders[study].mkdir(exist_ok=True)
        number = int(made["capture"].InstanceNumber)
        for kind, content in contents.items():
            (self._folders[study] / f"{kind}-{number:04d}.dcm").write_bytes(content)
        self.written += 1
        return self._folders[study] / f"report-{number:04d}.dcm"
