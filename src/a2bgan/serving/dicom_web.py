"""Images from a DICOMweb server, and results to one: QIDO-RS, WADO-RS and STOW-RS."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.uid import UID
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util import Retry

from a2bgan.data.pseudonyms import pseudonym
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file
from a2bgan.serving.addresses import is_loopback
from a2bgan.serving.private_folder import make_private

USER, PASSWORD, TOKEN = (f"A2BGAN_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
"""Environment variables with credentials; without them requests looks into ~/.netrc."""

PAGE = 500
"""Results of a query that are asked for at a time."""

JOURNAL = ".dicomweb-stored"
"""File in a folder that was stored, with a digest of each file that the server has taken."""

RETRIES, PAUSE = 2, 1.0
"""Further tries where nobody answers or a server is busy, and the first pause, which doubles."""

BUSY = (429, 503)
STRANGER = (401, 403)


@dataclass(frozen=True, slots=True)
class Limits:
    """images: of one fetch. object_bytes: of one answer, held in memory. seconds: for a connection
    or a piece of an answer; answer_seconds: for a whole one."""

    images: int = 10_000
    object_bytes: int = 256 * 2**20
    seconds: float = 30.0
    answer_seconds: float = 600.0


@dataclass(slots=True)
class Transferred:
    """Counts of images or results.

    done: transferred now; before: by an earlier call. passed_over: objects without an image.
    failures: (pseudonym or file, reason) of the others.
    """

    done: int = 0
    before: int = 0
    passed_over: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Instance:
    """The place of an image on a server."""

    study: str
    series: str
    image: str

    @property
    def file(self) -> Path:
        """Where it is kept: a folder a series, named by pseudonyms of the UIDs."""
        return Path(pseudonym(self.series), f"{pseudonym(self.image)}.dcm")


def connect(url: str, limits: Limits) -> DICOMwebClient:
    """A client of the server whose studies are at ``URL/studies``; nothing is asked yet.

    Certificates are verified, redirections are not followed, and without encryption only this
    machine is spoken to. Raises InputError for an address that cannot be used.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or ":" in host or parts.scheme not in ("http", "https") or parts.query:
        raise InputError(
            f"{url}: not an address; give one like https://archive.example.org/dicom-web"
        )
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"credentials do not belong in the address; set {USER} and {PASSWORD}, or use ~/.netrc"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"{url}: not encrypted; give an https:// address, or use a tunnel")
    session = requests.Session()
    session.max_redirects = 0
    session.auth = _credentials()
    session.hooks["response"] = [_bounded(limits)]
    retry = Retry(
        RETRIES,
        status_forcelist=BUSY,
        allowed_methods=None,  # what is stored twice is there once
        backoff_factor=PAUSE / 2,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    session.mount(f"{parts.scheme}://", HTTPAdapter(max_retries=retry))
    client = DICOMwebClient(
        url.rstrip("/"),
        session=session,
        timeout=limits.seconds,
        chunk_size=2 * limits.object_bytes,  # one piece, which not every server takes in several
    )
    client.set_http_retry_params(retry=False)
    return client


def find_images(
    client: DICOMwebClient,
    limits: Limits,
    *,
    studies: Sequence[str] = (),
    series: Sequence[str] = (),
    query: Mapping[str, str] | None = None,
) -> tuple[list[Instance], int]:
    """Ask for images, and how many objects without an image there are beside them.

    studies, series: UIDs, of which an image has one each; all that there are where empty.
    query: keywords and values that series, or their studies, must have. Raises InputError, also
    where there are none, or more than `limits.images` series, images or other objects.
    """
    filters = [dict(query or {})]
    for keyword, uids in (("StudyInstanceUID", studies), ("SeriesInstanceUID", series)):
        if uids:
            filters = [{**each, keyword: uid} for each in filters for uid in uids]
    found: dict[str, Instance] = {}
    others = 0
    with _saying(client):
        for each in filters:
            for of_series in _pages(client.search_for_series, limits.images, search_filters=each):
                study, uid = (
                    _value(of_series, tag) or each.get(keyword, "")
                    for tag, keyword in (
                        ("0020000D", "StudyInstanceUID"),
                        ("0020000E", "SeriesInstanceUID"),
                    )
                )
                inside = _pages(
                    client.search_for_instances,
                    limits.images,
                    study_instance_uid=study,
                    series_instance_uid=uid,
                )
                for instance in inside:
                    image = _value(instance, "00080018")
                    kind = UID(_value(instance, "00080016"))
                    if kind and "ImageStorage" not in kind.keyword:
                        others += 1
                        continue
                    found[image] = Instance(study, uid, image)
                    if len(found) > limits.images:
                        raise _too_many(limits.images)
    if not found:
        raise InputError("the server has no such images; look at --study, --series and --query")
    return list(found.values()), others


def fetch(
    client: DICOMwebClient,
    images: Sequence[Instance],
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Transferred:
    """Write images as ``OUT/SERIES/IMAGE.dcm``, named by pseudonyms of their UIDs.

    They hold identifiers, so that only its owner can read the folder. Files that are there are not
    fetched again: a fetch that was stopped goes on. Raises InputError where the server or the disk
    fails; what fails of single images is returned.
    """
    result = Transferred()
    try:
        make_private(out)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be used ({error.strerror}); choose another --out"
        ) from None
    with _saying(client):
        for number, instance in enumerate(images, start=1):
            file = out / instance.file
            if file.is_file():
                result.before += 1
            else:
                try:
                    content = _retrieve(client, instance)
                    file.parent.mkdir(mode=0o700, exist_ok=True)
                    with atomic_file(file, private=True) as partial:
                        partial.write_bytes(content)
                    result.done += 1
                except _OneFailsError as error:
                    result.failures.append((str(instance.file), str(error)))
                except OSError as error:
                    if isinstance(error, requests.RequestException):
                        raise
                    raise InputError(
                        f"{out}: cannot be written ({error.strerror or error}); what is there "
                        "stays, and the same command goes on"
                    ) from None
            progress(number)
    return result


def store(
    client: DICOMwebClient,
    folder: Path,
    limits: Limits,
    progress: Callable[[int], None] = lambda done: None,
) -> Transferred:
    """Send every ``.dcm`` file below a folder, as it is. A file that the server has taken is noted
    in the folder, and not sent to the same address again. Raises InputError where there is none, or
    the server fails; what it refuses is returned."""
    files = files_below(folder)
    result = Transferred()
    try:
        with (folder / JOURNAL).open("a+", encoding="ascii") as journal, _saying(client):
            journal.seek(0)
            known = set(journal.read().split())
            for number, file in enumerate(files, start=1):
                try:
                    digest = _store(client, file, known, limits)
                    if digest is None:
                        result.before += 1
                    else:
                        journal.write(f"{digest}\n")
                        journal.flush()
                        os.fsync(journal.fileno())
                        known.add(digest)
                        result.done += 1
                except _OneFailsError as error:
                    result.failures.append((str(file.relative_to(folder)), str(error)))
                progress(number)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used ({error.strerror or error})") from None
    return result


def files_below(folder: Path) -> list[Path]:
    """The files to store. Raises InputError where there are none."""
    files = sorted(folder.rglob("*.dcm"))
    if not files:
        raise InputError(f"{folder}: no .dcm files; give the folder of `predict --dicom-out`")
    return files


class _OneFailsError(Exception):
    """One image or result cannot be transferred; the others may."""


class _TooLargeError(Exception):
    """An answer is larger, or takes longer, than allowed."""


class _Token(AuthBase):
    """Unlike a header of the session, not replaced by what ~/.netrc says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _credentials() -> AuthBase | None:
    """Those of the environment; None leaves it to requests to look into ~/.netrc."""
    if token := os.environ.get(TOKEN):
        return _Token(token)
    if user := os.environ.get(USER):
        return HTTPBasicAuth(user.encode(), os.environ.get(PASSWORD, "").encode())
    return None


def _bounded(limits: Limits) -> Callable[..., None]:
    """A hook that reads an answer, as far as it is allowed to go."""

    def read(response: requests.Response, *_: object, **__: object) -> None:
        until = time.monotonic() + limits.answer_seconds
        content = bytearray()
        for piece in response.iter_content(2**20):
            content += piece
            if len(content) > limits.object_bytes:
                response.close()
                raise _TooLargeError(f"more than {limits.object_bytes / 2**20:g} MiB; raise --mib")
            if time.monotonic() > until:
                response.close()
                raise _TooLargeError(f"took longer than {limits.answer_seconds:g} s")
        response._content = bytes(content)

    return read


@contextmanager
def _saying(client: DICOMwebClient) -> Iterator[None]:
    """Failures of the server or the way there as an InputError, which quotes nothing it sent."""
    host = f"{client.host}:{client.port}"
    again = "the same command goes on with what is left"
    try:
        yield
    except InputError:
        raise
    except requests.exceptions.SSLError:
        raise InputError(
            f"{host}: its certificate cannot be verified; name that of your own authority with "
            "REQUESTS_CA_BUNDLE"
        ) from None
    except requests.exceptions.TooManyRedirects:
        raise InputError(f"{host}: redirects elsewhere; give the address it redirects to") from None
    except requests.HTTPError as error:
        raise InputError(f"{host}: {_status(error)}") from None
    except requests.Timeout:
        raise InputError(f"{host}: does not answer in time; {again}") from None
    except requests.ConnectionError:
        raise InputError(f"{host}: cannot be reached, or ended the connection; {again}") from None
    except _TooLargeError as error:
        raise InputError(f"{host}: an answer is too large or too slow: {error}") from None
    except (
        requests.RequestException, ValueError, KeyError, AttributeError, TypeError, RecursionError
    ):  # fmt: skip
        raise InputError(f"{host}: does not answer as DICOMweb does; is it the address?") from None


def _code(error: requests.HTTPError) -> int:
    """The status of an answer; 0 where none came."""
    return 0 if error.response is None else error.response.status_code


def _status(error: requests.HTTPError) -> str:
    code = _code(error)
    if code in BUSY:
        return f"is busy (HTTP {code}); the same command goes on with what is left"
    if code in STRANGER:
        return (
            f"does not let you in (HTTP {code}); set {USER} and {PASSWORD}, or {TOKEN}, or "
            "use ~/.netrc"
        )
    return f"refused the request (HTTP {code}); is it the address of DICOMweb?"


def _too_many(most: int) -> InputError:
    return InputError(
        f"more than {most} images; ask for less with --study, --series or --query, or raise "
        "--images"
    )


def _pages(
    ask: Callable[..., list[dict[str, Any]]], most: int, **wanted: Any
) -> Iterator[dict[str, Any]]:
    """All results of a query, if there are no more than `most`. A server that ignores `offset`
    sends the same page again."""
    seen: set[str] = set()
    while True:
        page = ask(limit=PAGE, offset=len(seen), **wanted)
        new = [each for each in page if _own_uid(each) not in seen]
        seen.update(map(_own_uid, new))
        if len(seen) > most:
            raise _too_many(most)
        yield from new
        if not new or len(page) < PAGE:
            return


def _own_uid(result: Mapping[str, Any]) -> str:
    return _value(result, "00080018") or _value(result, "0020000E")


def _value(result: Mapping[str, Any], tag: str) -> str:
    values = result.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _retrieve(client: DICOMwebClient, instance: Instance) -> bytes:
    """The content of an image's file. Raises _OneFailsError."""
    try:
        dataset = client.retrieve_instance(instance.study, instance.series, instance.image)
        content = BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        uid = str(dataset.SOPInstanceUID)
    except requests.HTTPError as error:
        if _code(error) in (*BUSY, *STRANGER):
            raise
        raise _OneFailsError(f"refused (HTTP {_code(error)})") from None
    except (requests.RequestException, MemoryError):
        raise
    except _TooLargeError as error:
        raise _OneFailsError(str(error)) from None
    except Exception:  # damaged files make pydicom raise nearly anything
        raise _OneFailsError("what came is no DICOM file") from None
    if uid != instance.image:
        raise _OneFailsError("another image came")
    return content.getvalue()


def _store(client: DICOMwebClient, file: Path, known: set[str], limits: Limits) -> str | None:
    """The digest of a file that the server has taken now; None if it has it already."""
    if file.stat().st_size > limits.object_bytes:
        raise _OneFailsError(f"more than {limits.object_bytes / 2**20:g} MiB; raise --mib")
    content = file.read_bytes()
    digest = hashlib.sha256(client.base_url.encode() + b"\0" + content).hexdigest()
    if digest in known:
        return None
    try:
        dataset = pydicom.dcmread(BytesIO(content))
        uid = str(dataset.SOPInstanceUID)
    except Exception:
        raise _OneFailsError("not a DICOM file") from None
    try:
        said = client.store_instances([dataset])
    except requests.HTTPError as error:
        if _code(error) in (400, 409, 415, 422):
            code = _code(error)
            raise _OneFailsError(f"the server refuses it (HTTP {code})") from None
        raise
    failed = [str(item.ReferencedSOPInstanceUID) for item in said.get("FailedSOPSequence") or ()]
    taken = [str(item.ReferencedSOPInstanceUID) for item in said.get("ReferencedSOPSequence") or ()]
    if uid in failed or uid not in taken:
        raise _OneFailsError("the server did not keep it")
    return digest
