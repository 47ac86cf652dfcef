"""The server's pages and its interface: what the browser asks, and what it gets."""

import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from a2bgan.detection.examination import examine
from a2bgan.detection.reliability import read_weaknesses
from a2bgan.detection.thresholds import outlier_warning
from a2bgan.errors import InputError
from a2bgan.report.html_report import write_report
from a2bgan.report.pictures import OPAQUE_FROM, map_colours
from a2bgan.serving.access import Access
from a2bgan.serving.cases import Cases
from a2bgan.serving.gate import Gate
from a2bgan.serving.operating_points import operating_points, p_values
from a2bgan.serving.progress import training_progress
from a2bgan.serving.room import inside
from a2bgan.serving.shown import Room
from a2bgan.serving.uploads import SUFFIXES, Limits, Uploads
from a2bgan.serving.verdicts import Answer, DiskFullError
from a2bgan.serving.worklist import Show, Sort, Worklist

UPLOAD = "/api/uploads"
PAGE = 100

# The report has its styles and pictures in itself, and runs nothing.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; sandbox"
)
STATIC = {
    "room.css": "text/css",
    "main.js": "text/javascript",
    "server.js": "text/javascript",
    "worklist.js": "text/javascript",
    "viewer.js": "text/javascript",
    "drawing.js": "text/javascript",
    "keys.js": "text/javascript",
    "training.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

Number = Annotated[int, Field(ge=0, le=10**9)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=1000)


class Reading(BaseModel):
    """A verdict as it is sent; both empty deletes it."""

    model_config = ConfigDict(extra="forbid")
    answer: Answer | None = None
    note: str = Field(default="", max_length=2000)


def make_app(
    room: Room,
    access: Access,
    *,
    limits: Limits | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Gate:
    """The ASGI application of a room, behind its gate."""
    limits = limits or Limits()
    cases = [] if room.cases is None else room.cases.cases
    p = np.full(len(cases), np.nan)
    points = []
    if room.calibration is not None:
        p = p_values(room.calibration, cases)
        points = operating_points(room.calibration, p)
    worklist = Worklist(room, p)
    uploads = Uploads(room, limits)
    writing_report = threading.Lock()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        uploads.close()

    app = FastAPI(
        title="a2bgan reading room",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    _quiet_errors(app)
    static = {
        name: files("a2bgan.serving").joinpath("static", name).read_bytes()
        for name in ("index.html", *STATIC)
    }

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response(static["index.html"], media_type="text/html")

    @app.get("/static/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "no such file")
        return Response(static[name], media_type=STATIC[name])

    @app.post("/api/login", status_code=204, responses={403: {}})
    def login(body: Login, response: Response) -> None:
        """Exchange the token for a cookie that ends with the browser or the server."""
        if not access.is_token(body.token):
            raise HTTPException(403, "not the token")
        response.set_cookie(access.cookie, access.session, httponly=True, samesite="strict")

    @app.get("/api/room")
    def about() -> dict[str, Any]:
        """What there is to see."""
        trained = room.trained
        return {
            "run": room.run.path.resolve().name,
            "method": room.run.config().facts.title,
            "note": None if trained is None else trained.method.note,
            "doubts": read_weaknesses(room.run),
            "outliers": "" if room.calibration is None else outlier_warning(room.calibration),
            "score": None if trained is None else trained.pick.score,
            "cases": len(cases),
            "pictures": None if room.cases is None else asdict(room.cases.pictures),
            "rate": room.rate,
            "calibration_patients": (
                0 if room.calibration is None else len(room.calibration.patient_scores)
            ),
            "points": [asdict(point) for point in points],
            "lowest_score": min((c.score for c in cases if c.score is not None), default=None),
            "highest_score": max((c.score for c in cases if c.score is not None), default=None),
            "colours": (255 * map_colours(np.linspace(0, 1, 64))).round().astype(int).tolist(),
            "opaque_from": OPAQUE_FROM,
            "suffixes": SUFFIXES,
            "upload_bytes": limits.upload_bytes,
        }

    @app.get("/api/cases")
    def list_cases(
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
        q: Annotated[str, Query(max_length=200)] = "",
        show: Show = "all",
        sort: Sort = "-score",
        rate: Annotated[float | None, Query(ge=0, le=1)] = None,
    ) -> dict[str, Any]:
        """A page of the worklist: cases that match, in order."""
        at = room.rate if rate is None else rate
        found = worklist.find(q, show, sort, at)
        return {
            "total": len(found),
            "cases": [worklist.row(number, at) for number in found[offset : offset + limit]],
        }

    @app.get("/api/cases/{number}", responses={404: {}})
    def one_case(
        number: Number, rate: Annotated[float | None, Query(ge=0, le=1)] = None
    ) -> dict[str, Any]:
        return worklist.row(_known(number), room.rate if rate is None else rate)

    @app.get("/api/cases/{number}/thumbnail", responses={404: {}}, response_class=Response)
    def thumbnail(number: Number) -> Response:
        return Response(_pictures(number).thumbnail(number), media_type="image/png")

    @app.get("/api/cases/{number}/pixels", responses={404: {}}, response_class=Response)
    def pixels(number: Number) -> Response:
        """Input, twin and map: little-endian uint16 planes, as `pictures` of the room says."""
        return _raw(_pictures(number).pixels(number))

    @app.put("/api/cases/{number}/verdict", responses={404: {}, 409: {}, 507: {}})
    def read_case(number: Number, body: Reading) -> dict[str, Any]:
        """Keep what the reader decided."""
        case = cases[_known(number)]
        if not case.digest:
            raise HTTPException(409, "the image's file is missing: no verdict on it")
        if case.score is None:
            raise HTTPException(409, "the image could not be read: no verdict on it")
        note = "".join(c for c in body.note if c.isprintable() or c == "\n").strip()
        room.verdicts.put(case.digest, body.answer, note)
        return worklist.row(number, room.rate)

    @app.get("/api/verdicts.csv", response_class=Response)
    def export() -> Response:
        """The cases that were read, as a manifest."""
        return Response(
            room.verdicts.as_csv(cases).encode(),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="verdicts.csv"'},
        )

    @app.post(
        UPLOAD,
        responses={409: {}, 413: {}, 415: {}, 422: {}, 429: {}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
            }
        },
    )
    async def upload(request: Request, suffix: Annotated[str, Query(max_length=10)]) -> Any:
        """Score a file, which is the body; its name stays with the browser, but for the suffix."""
        if suffix not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            raise HTTPException(415, f"no image; one of {known}; `a2bgan predict` scores volumes")
        with uploads.place(), tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
            file = Path(folder) / f"image{suffix}"
            try:
                with file.open("wb") as target:
                    async for chunk in request.stream():
                        target.write(chunk)
            except OSError:
                raise DiskFullError from None
            return await run_in_threadpool(uploads.score, file)

    @app.get(f"{UPLOAD}/{{number}}/pixels", responses={404: {}}, response_class=Response)
    def uploaded_pixels(number: Number) -> Response:
        return _raw(uploads.pixels(number))

    @app.get("/api/training")
    def training() -> dict[str, Any]:
        """How the training stands."""
        return training_progress(room.run)

    @app.post("/api/report", status_code=204, responses={409: {}, 429: {}})
    def make_report() -> None:
        """Write the run's report."""
        if not writing_report.acquire(blocking=False):
            raise HTTPException(429, "the report is being written")
        try:
            write_report(examine(room.run), room.folder / "report.html", rate=room.rate)
        except InputError:
            # Its words name files.
            raise HTTPException(
                409, "no report could be written; `a2bgan report` with this run says why"
            ) from None
        finally:
            writing_report.release()

    @app.get("/report", include_in_schema=False)
    def report() -> Response:
        for folder in (room.folder, room.run.path):
            file = inside(folder, folder / "report.html")
            if file is not None:
                headers = {"content-security-policy": REPORT_POLICY}
                return FileResponse(file, media_type="text/html", headers=headers)
        raise HTTPException(404, "no report was written yet")

    def _known(number: int) -> int:
        if number >= len(cases):
            raise HTTPException(404, "no such case")
        return number

    def _pictures(number: int) -> Cases:
        if room.cases is None or cases[_known(number)].score is None:
            raise HTTPException(404, "no picture of this case")
        return room.cases

    return Gate(
        app,
        access,
        uploads=frozenset({UPLOAD}),
        largest_upload=limits.upload_bytes,
        seconds=limits.seconds,
        log=log,
    )


def _raw(pixels: bytes) -> Response:
    return Response(pixels, media_type="application/octet-stream")


def _quiet_errors(app: FastAPI) -> None:
    """Errors in one line each, which never repeats what was sent."""

    @app.exception_handler(StarletteHTTPException)
    async def said(request: Request, error: StarletteHTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        places = sorted({str(e["loc"][-1]) for e in error.errors() if e["loc"]} & _FIELDS)
        return JSONResponse({"error": f"not valid: {', '.join(places) or 'the request'}"}, 422)

    @app.exception_handler(DiskFullError)
    async def full(request: Request, error: DiskFullError) -> Response:
        text = "not saved: the disk is full or cannot be written; make room and save again"
        return JSONResponse({"error": text}, 507)


_FIELDS = {
    "offset", "limit", "q", "show", "sort", "rate", "number", "answer", "note", "token", "suffix",
}  # fmt: skip
