"""Requests about the run: how its training stands, its report."""

import threading
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from a2bgan.errors import InputError
from a2bgan.serving.private_folder import inside
from a2bgan.serving.reading_room.progress import training_progress
from a2bgan.serving.reading_room.room import Room

# The report has its styles and pictures in itself, and runs nothing.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; sandbox"
)


def run_routes(room: Room) -> APIRouter:
    """The router of a room's run."""
    routes = APIRouter()
    writing = threading.Lock()

    @routes.get("/api/training")
    def training() -> dict[str, Any]:
        """Progress of the training."""
        return training_progress(room.run)

    @routes.post("/api/report", status_code=204, responses={409: {}, 429: {}})
    def make_report() -> None:
        """Write the run's report."""
        from a2bgan.detection.examination import examine  # takes a while
        from a2bgan.report.html_report import write_report

        if not writing.acquire(blocking=False):
            raise HTTPException(429, "the report is being written")
        try:
            write_report(examine(room.run), room.folder / "report.html", rate=room.rate)
        except InputError:
            # Its words name files.
            raise HTTPException(
                409, "no report could be written; `a2bgan report` with this run says why"
            ) from None
        finally:
            writing.release()

    @routes.get("/report", include_in_schema=False)
    def report() -> Response:
        for folder in (room.folder, room.run.path):
            file = inside(folder, folder / "report.html")
            if file is not None:
                headers = {"content-security-policy": REPORT_POLICY}
                return FileResponse(file, media_type="text/html", headers=headers)
        raise HTTPException(404, "no report was written yet")

    return routes
