"""Requests about the cases: the worklist, their pictures, verdicts."""

from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from a2bgan.data.config import DataConfig
from a2bgan.detection import RATE
from a2bgan.detection.audit.reliability import read_weaknesses
from a2bgan.detection.decisions.thresholds import outlier_warning
from a2bgan.report.pictures import CONTOUR, OPAQUE_FROM, map_colours
from a2bgan.serving.reading_room.cases import Cases
from a2bgan.serving.reading_room.films import Films, SentPictures
from a2bgan.serving.reading_room.operating_points import operating_points, p_values
from a2bgan.serving.reading_room.room import Room
from a2bgan.serving.reading_room.uploads import SUFFIXES, Limits
from a2bgan.serving.reading_room.verdicts import Answer
from a2bgan.serving.reading_room.worklist import Show, Sort, Worklist

PAGE = 100
PICTURE = "/api/cases/{number}/picture"

Number = Annotated[int, Field(ge=0, le=10**9)]
Rate = Annotated[float | None, Query(ge=0, le=1)]


class Reading(BaseModel):
    """A verdict as it is sent; both empty deletes it."""

    model_config = ConfigDict(extra="forbid")
    answer: Answer | None = None
    note: str = Field(default="", max_length=2000)


def case_routes(room: Room, limits: Limits, films: Films, sent: SentPictures) -> APIRouter:
    """The router of a room's cases. limits: of uploads, which the page is told."""
    routes = APIRouter()
    cases = [] if room.cases is None else room.cases.cases
    p = np.full(len(cases), np.nan)
    points = []
    if room.calibration is not None:
        p = p_values(room.calibration, cases)
        points = operating_points(room.calibration, p)
    worklist = Worklist(room, p)

    def known(number: int) -> int:
        if number >= len(cases):
            raise HTTPException(404, "no such case")
        return number

    def pictures(number: int) -> Cases:
        if room.cases is None or cases[known(number)].score is None:
            raise HTTPException(404, "no picture of this case")
        return room.cases

    @routes.get("/api/room")
    def about() -> dict[str, Any]:
        """The run, its pictures, and the places of the threshold."""
        trained, calibration = room.trained, room.calibration
        scores = [case.score for case in cases if case.score is not None]
        contour = {"rate": RATE, "colour": CONTOUR}
        return {
            "run": room.run.path.resolve().name,
            "method": room.run.config().facts.title,
            "note": None if trained is None else trained.method.note,
            "doubts": read_weaknesses(room.run),
            "outliers": "" if calibration is None else outlier_warning(calibration),
            "score": None if trained is None else trained.pick.score,
            "cases": len(cases),
            "pictures": None if room.cases is None else asdict(room.cases.pictures),
            "levels": None if trained is None else _changed_levels(trained.data),
            "contour": None if room.contour_threshold is None else contour,
            "rate": room.rate,
            "points": [asdict(point) for point in points],
            "lowest_score": min(scores, default=None),
            "highest_score": max(scores, default=None),
            "colours": (255 * map_colours(np.linspace(0, 1, 64))).round().astype(int).tolist(),
            "opaque_from": OPAQUE_FROM,
            "suffixes": SUFFIXES,
            "upload_bytes": limits.upload_bytes,
        }

    @routes.get("/api/cases")
    def list_cases(
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
        q: Annotated[str, Query(max_length=200)] = "",
        show: Show = "all",
        sort: Sort = "-score",
        rate: Rate = None,
    ) -> dict[str, Any]:
        """A page of the worklist: cases that match, in order."""
        at = room.rate if rate is None else rate
        found = worklist.find(q, show, sort, at)
        return {
            "total": len(found),
            "cases": [worklist.row(number, at) for number in found[offset : offset + limit]],
        }

    @routes.get("/api/cases/{number}", responses={404: {}})
    def one_case(number: Number, rate: Rate = None) -> dict[str, Any]:
        return worklist.row(known(number), room.rate if rate is None else rate)

    @routes.get("/api/cases/{number}/thumbnail", responses={404: {}}, response_class=Response)
    def thumbnail(number: Number) -> Response:
        return Response(pictures(number).thumbnail(number), media_type="image/png")

    @routes.get(PICTURE, responses={404: {}, 503: {}}, response_class=Response)
    async def picture(number: Number) -> Response:
        """The film, and what the method made of it; see `packed_picture`."""
        pictures(number)
        return await sent.answer(lambda: films.picture(number))

    @routes.put("/api/cases/{number}/verdict", responses={404: {}, 409: {}, 507: {}})
    def read_case(number: Number, body: Reading) -> dict[str, Any]:
        """Keep what the reader decided."""
        case = cases[known(number)]
        if not case.digest:
            raise HTTPException(409, "the image's file is missing: no verdict on it")
        if case.score is None:
            raise HTTPException(409, "the image could not be read: no verdict on it")
        note = "".join(c for c in body.note if c.isprintable() or c == "\n").strip()
        room.verdicts.put(case.digest, body.answer, note)
        return worklist.row(number, room.rate)

    @routes.get("/api/verdicts.csv", response_class=Response)
    def export() -> Response:
        """The cases that were read, as a manifest."""
        return Response(
            room.verdicts.as_csv(cases).encode(),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="verdicts.csv"'},
        )

    return routes


def _changed_levels(data: DataConfig) -> str:
    """Name what preprocessing does to grey levels beyond a window; "" where nothing."""
    changes = {"equal histogram": data.equalize, "standardised": data.standardize}
    return ", ".join(name for name, used in {"CLAHE": data.clahe, **changes}.items() if used)
