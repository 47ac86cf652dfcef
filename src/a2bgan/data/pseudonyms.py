"""Pseudonyms of patients, which tell them apart and say nothing else."""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs

from a2bgan.data.formats.kinds import dicom_of, is_dicom
from a2bgan.errors import InputError

KEY_VARIABLE = "A2BGAN_PSEUDONYM_KEY"
KEY_BYTES = 32

_PSEUDONYM = re.compile(r"PSN-[0-9A-F]{16}")


def pseudonym(identifier: str) -> str:
    """PSN- and 16 hexadecimal digits of the HMAC-SHA256 of an identifier.

    The same identifier and key give the same pseudonym on every machine; without the key nobody
    can tell whose it is, not even by trying all identifiers there are. A pseudonym stays what it
    is. Raises InputError if the key cannot be read or made.
    """
    if _PSEUDONYM.fullmatch(identifier):
        return identifier
    digest = hmac.new(_key(key_file()), identifier.encode(), hashlib.sha256)
    return f"PSN-{digest.hexdigest()[:16].upper()}"


def identify(path: Path, given: str, keep_identifiers: bool = False) -> str:
    """Whose image it is: `given`, or else a DICOM file's PatientID; "" where nobody knows.

    From here on a patient is a pseudonym, the same in all that is written, unless
    `keep_identifiers`.
    """
    if not given and is_dicom(path := dicom_of(path)):
        from a2bgan.data.formats.dicom.header import read_tags

        given = "".join((read_tags(path, ["PatientID"]) or {}).get("PatientID", ())[:1])
    return given if keep_identifiers or not given else pseudonym(given)


def key_file() -> Path:
    """$A2BGAN_PSEUDONYM_KEY, or a file where this system keeps settings of a user."""
    chosen = os.environ.get(KEY_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("a2bgan"), "pseudonym.key")


@cache
def _key(file: Path) -> bytes:
    """The content of the key file, which is made at the first use, readable by its owner alone."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _make(file)
        key = file.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"{file}: the key of pseudonyms cannot be used ({error.strerror}); set {KEY_VARIABLE} "
            "to another file"
        ) from None
    if len(key) < KEY_BYTES:
        raise InputError(
            f"{file}: too short for a key of pseudonyms; give {KEY_BYTES} random characters or more"
        )
    return key


def _make(file: Path) -> None:
    # Whole or not at all, and the first of several processes wins.
    descriptor, temporary = tempfile.mkstemp(prefix=".key-", dir=file.parent)  # for the owner alone
    try:
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        os.unlink(temporary)
