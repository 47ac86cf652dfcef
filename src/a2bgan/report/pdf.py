"""A report as PDF, by WeasyPrint."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile

from a2bgan.errors import InputError, not_installed

DPI = 300
"""Most pixels of a picture to an inch of paper; an X-ray has several times as many."""


def require_pdf() -> None:
    """Raise InputError where no PDF can be made here, before minutes are spent on a report."""
    try:
        with _pillow_as_it_was():
            import weasyprint  # noqa: F401
    except ModuleNotFoundError:
        raise not_installed("weasyprint", "pdf") from None
    except OSError:
        raise InputError(
            "a PDF needs the system's library Pango, which WeasyPrint does not find; install it "
            "(Debian and Ubuntu: apt install libpangoft2-1.0-0), or give --out a name that ends "
            "with .html"
        ) from None


def pdf_of(page: str) -> bytes:
    """A page that needs nothing else as PDF; nothing is fetched. Raises InputError."""
    require_pdf()
    with _pillow_as_it_was():
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher

        fetcher = URLFetcher(allowed_protocols=("data",))
        content: bytes = HTML(string=page, url_fetcher=fetcher).write_pdf(dpi=DPI)
    return content


@contextmanager
def _pillow_as_it_was() -> Iterator[None]:
    """Undo what WeasyPrint does when it is imported: Pillow then accepts cut files everywhere."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
