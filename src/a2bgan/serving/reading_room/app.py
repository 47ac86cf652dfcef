"""The server's pages and its interface: what the browser asks, and what it gets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.case_routes import case_routes
from a2bgan.serving.reading_room.films import Films, SentPictures
from a2bgan.serving.reading_room.gate import Gate
from a2bgan.serving.reading_room.room import Room
from a2bgan.serving.reading_room.run_routes import run_routes
from a2bgan.serving.reading_room.uploads import UPLOAD, Limits, Uploads, upload_routes
from a2bgan.serving.reading_room.verdicts import DiskFullError

STATIC = Path(__file__).parent / "static"


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=1000)


def make_app(
    room: Room,
    access: Access,
    *,
    limits: Limits | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Gate:
    """The ASGI application of a room, behind its gate."""
    limits = limits or Limits()
    uploads, films, sent = Uploads(room, limits), Films(room, limits.seconds), SentPictures()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        uploads.close()
        films.close()

    app = FastAPI(
        title="a2bgan reading room",
        version=version("a2bgan"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,  # a redirection would name this server, not a proxy before it
        lifespan=lifespan,
    )
    _quiet_errors(app)
    app.include_router(case_routes(room, limits, films, sent))
    app.include_router(upload_routes(uploads, sent))
    app.include_router(run_routes(room))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.post("/api/login", status_code=204, responses={403: {}})
    def login(body: Login, request: Request, response: Response) -> None:
        """Exchange the token for a cookie that ends with the browser or the server."""
        if not access.is_token(body.token):
            raise HTTPException(403, "not the token")
        response.set_cookie(
            access.cookie, access.session, path=access.root_path or "/",
            secure=request.url.scheme == "https", httponly=True, samesite="strict",
        )  # fmt: skip

    return Gate(
        app,
        access,
        uploads=frozenset({UPLOAD}),
        largest_upload=limits.upload_bytes,
        seconds=limits.seconds,
        log=log,
    )


def _quiet_errors(app: FastAPI) -> None:
    """Errors in one line each, which never repeats what was sent."""

    @app.exception_handler(StarletteHTTPException)
    async def said(request: Request, error: StarletteHTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Of what is too much, the place is a name that was sent.
        known = [e for e in error.errors() if e["loc"] and e["type"] != "extra_forbidden"]
        places = sorted({str(e["loc"][-1]) for e in known})
        return JSONResponse({"error": f"not valid: {', '.join(places) or 'the request'}"}, 422)

    @app.exception_handler(DiskFullError)
    async def full(request: Request, error: DiskFullError) -> Response:
        text = "not saved: the disk is full or cannot be written; make room and save again"
        return JSONResponse({"error": text}, 507)
