"""Cases as a matplotlib figure, for a `Detector`."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from a2bgan.detection.predict import Prediction
from a2bgan.report.pictures import (
    CONTOUR,
    CONTOUR_MEANING,
    MAP_NAME,
    RESEARCH,
    outlines,
    paint_map,
    to_rgb,
)


def cases_figure(cases: Sequence[Prediction], vmax: float) -> Figure:
    """A row for each case: the image with the contours of its regions, its healthy twin where the
    method makes one, and the anomaly map over the image, on the scale 0 to ``vmax``."""
    names = ["Image"]
    if any(case.twin is not None for case in cases):
        names.append("Healthy twin")
    if any(case.anomaly_map is not None for case in cases):
        names.append(MAP_NAME)
    figure = Figure(figsize=(2.6 * len(names), 2.8 * max(1, len(cases))), layout="constrained")
    panels = figure.subplots(max(1, len(cases)), len(names), squeeze=False)
    for case, row in zip(cases, panels, strict=False):
        assert case.image is not None and case.score is not None
        shown = {"Image": to_rgb(case.image)}
        if case.twin is not None:
            shown["Healthy twin"] = to_rgb(case.twin)
        if case.anomaly_map is not None:
            shown[MAP_NAME] = paint_map(case.image, case.anomaly_map, vmax)
        for name, axes in zip(names, row, strict=True):
            axes.set_axis_off()
            if name in shown:
                axes.imshow(shown[name])
            axes.set_title(name, fontsize=9)
        row[0].set_title(f"{case.input.name}, score {case.score:.3g}", fontsize=9)
        for line in [] if case.mask is None else outlines(case.mask):
            row[0].plot(*(line.T - 0.5), color=CONTOUR, linewidth=1)
    contours = any(case.mask is not None and case.mask.any() for case in cases)
    note = f"{RESEARCH}\nContour: {CONTOUR_MEANING}." if contours else RESEARCH
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8)
    return figure
