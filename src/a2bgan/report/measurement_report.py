"""A prediction as a DICOM structured report: numbers that an archive and its viewers can read.

A Measurement Report (TID 1500) with a group for the image, or for a series as a whole: its score
and, once known, its p-value and whether it is flagged. Where there are regions, a group refers to
their Segmentation, and each region has one with its outline on the source image and its area.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from skimage.measure import approximate_polygon, find_contours

from a2bgan.detection.measures.regions import label_regions

SCHEME = "99A2BGAN"
SCORE = CodedConcept("score", SCHEME, "Anomaly score")
P_VALUE = CodedConcept("p-value", SCHEME, "P-value among healthy patients")
THRESHOLD = CodedConcept("p-value-threshold", SCHEME, "Highest p-value that is flagged")
FLAGGED = CodedConcept("flagged", SCHEME, "Flagged as not healthy")
"""Private codes, for concepts that no public coding scheme has."""

PIXELS = CodedConcept("{pixels}", "UCUM", "pixels")

OUTLINE_TOLERANCE = 0.5
"""Pixels by which the line around a region may pass its edge by, which saves most of its points."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A region of a Segmentation.

    source: SOP Instance UID of the image it lies in; pixels: its area there.
    line: (N, 2) closed line of columns and rows, 0 at the outer edge of the first pixel.
    """

    source: str
    pixels: int
    line: NDArray[np.float64]


def measurement_report(
    sources: Sequence[Dataset],
    segmentation: Dataset | None,
    *,
    score: float,
    comment: str,
    frame: int | None,
    series_uid: str,
    series_number: int,
    sop_instance_uid: str,
    instance_number: int,
) -> ComprehensiveSR:
    """Report the score and the regions of an image, or of the images of a series.

    The p-value and the flag depend on all images of a patient: `add_p_value` adds them when these
    have been scored.

    Args:
        sources: headers of the images; patient and study are those of the first.
        segmentation: of the regions, in one segment; None where there are none.
        comment: said at the top, such as that it is research.
        frame: the one of a source with several, from 1 on; None for all.
    """
    algorithm = AlgorithmIdentification(
        name="a2bgan", version=version("a2bgan"), family=codes.cid7162.ArtificialIntelligence
    )

    def tracked(name: str) -> TrackingIdentifier:
        return TrackingIdentifier(generate_uid(entropy_srcs=[sop_instance_uid, name]), name)

    frames = None if frame is None else [frame]
    whole = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracked("image" if len(sources) == 1 else "series"),
        algorithm_id=algorithm,
        source_images=[
            SourceImageForMeasurementGroup(str(each.SOPClassUID), str(each.SOPInstanceUID), frames)
            for each in sources
        ],
        measurements=[Measurement(SCORE, score, codes.UCUM.NoUnits)],
    )
    groups: list[Any] = [whole]
    if segmentation is not None:
        of = {str(each.SOPInstanceUID): each for each in sources}
        found = list(outlines(segmentation))
        marked = [of[uid] for uid in dict.fromkeys(outline.source for outline in found)]
        abnormal = codes.SCT.MorphologicallyAbnormalStructure
        groups.append(
            VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=tracked("all regions"),
                referenced_segment=ReferencedSegment(
                    str(segmentation.SOPClassUID),
                    str(segmentation.SOPInstanceUID),
                    segment_number=1,
                    source_images=[
                        SourceImageForSegmentation(str(each.SOPClassUID), str(each.SOPInstanceUID))
                        for each in marked
                    ],
                ),
                finding_type=abnormal,
                algorithm_id=algorithm,
            )
        )
        for number, outline in enumerate(found, start=1):
            source = of[outline.source]
            groups.append(
                PlanarROIMeasurementsAndQualitativeEvaluations(
                    tracking_identifier=tracked(f"region {number}"),
                    referenced_region=ImageRegion(
                        GraphicTypeValues.POLYLINE,
                        outline.line,
                        SourceImageForRegion(str(source.SOPClassUID), outline.source),
                    ),
                    finding_type=abnormal,
                    algorithm_id=algorithm,
                    measurements=[_area(outline, source)],
                )
            )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                    uid=generate_uid(entropy_srcs=["a2bgan", version("a2bgan")]),
                    name="a2bgan",
                    manufacturer_name="a2bgan",
                    model_name="a2bgan",
                ),
            )
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(
        TextContentItem(codes.DCM.Comment, comment, RelationshipTypeValues.CONTAINS)
    )
    report = ComprehensiveSR(
        evidence=[*sources, *([] if segmentation is None else [segmentation])],
        content=content[0],
        series_instance_uid=series_uid,
        series_number=series_number,
        sop_instance_uid=sop_instance_uid,
        instance_number=instance_number,
        manufacturer="a2bgan",
        is_complete=False,
    )
    report.ManufacturerModelName = "a2bgan"
    report.SoftwareVersions = version("a2bgan")
    return report


def add_p_value(report: Dataset, p_value: float, rate: float) -> None:
    """Add to a report of `measurement_report` the p-value and whether it is flagged, which it is
    where the p-value is at most `rate`. The report is complete then."""
    (measurements,) = (
        item
        for item in report.ContentSequence
        if _is(item, codes.DCM.ImagingMeasurements)
    )  # fmt: skip
    whole = measurements.ContentSequence[0]
    flagged = codes.SCT.Yes if p_value <= rate else codes.SCT.No
    for items in (
        Measurement(P_VALUE, p_value, codes.UCUM.NoUnits),
        Measurement(THRESHOLD, rate, codes.UCUM.NoUnits),
        QualitativeEvaluation(FLAGGED, flagged),
    ):
        for item in items:
            whole.ContentSequence.append(item)
    report.CompletionFlag = "COMPLETE"


def outlines(segmentation: Dataset) -> Iterator[Outline]:
    """Each region of a binary Segmentation with one segment: pixels of a frame that touch by side
    or corner."""
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for frame, group in zip(frames, groups, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        numbers, count = label_regions(frame[np.newaxis])
        for number in range(1, count + 1):
            region = numbers[0] == number
            line = _line_around(region)
            yield Outline(str(source.ReferencedSOPInstanceUID), int(region.sum()), line)


def _line_around(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    lines = find_contours(np.pad(region, 1).astype(float), 0.5)
    outer = max(lines, key=lambda line: np.ptp(line, axis=0).sum())
    simple = approximate_polygon(outer, OUTLINE_TOLERANCE)
    if len(simple) < 4:
        simple = outer
    # Without the padding, and from the middle of the first pixel to its outer edge.
    line: NDArray[np.float64] = np.maximum(simple[:, ::-1] - 0.5, 0.0)
    return line


def _area(outline: Outline, source: Dataset) -> Measurement:
    spacing = source.get("PixelSpacing")
    if not spacing:
        return Measurement(codes.SCT.Area, float(outline.pixels), PIXELS)
    area = outline.pixels * float(spacing[0]) * float(spacing[1])
    return Measurement(codes.SCT.Area, area, codes.UCUM.SquareMillimeter)


def _is(item: Dataset, concept: CodedConcept) -> bool:
    name = item.get("ConceptNameCodeSequence")
    return bool(name) and name[0].CodeValue == concept.value
