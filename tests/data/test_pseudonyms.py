"""Pseudonyms: the same for the same patient and key, and nothing to be read in them."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from a2bgan.data.pseudonyms import key_file, pseudonym
from a2bgan.errors import InputError


def test_is_the_keyed_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef0123456789abcdef"
    (tmp_path / "key").write_text(key + "\n")
    monkeypatch.setenv("A2BGAN_PSEUDONYM_KEY", str(tmp_path / "key"))
    expected = hmac.new(key.encode(), b"MRN-0815", hashlib.sha256).hexdigest()[:16].upper()
    assert pseudonym("MRN-0815") == f"PSN-{expected}"
    assert pseudonym(pseudonym("MRN-0815")) == pseudonym("MRN-0815")
    assert pseudonym("MRN-0816") != pseudonym("MRN-0815")


def test_the_key_is_made_once_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings" / "key"
    monkeypatch.setenv("A2BGAN_PSEUDONYM_KEY", str(file))
    one = pseudonym("a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) == 64
    assert list(file.parent.iterdir()) == [file]
    assert pseudonym("a") == one
    monkeypatch.setenv("A2BGAN_PSEUDONYM_KEY", str(tmp_path / "other"))
    assert pseudonym("a") != one
    monkeypatch.delenv("A2BGAN_PSEUDONYM_KEY")
    assert key_file().name == "pseudonym.key"


def test_keys_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short").write_text("secret")
    monkeypatch.setenv("A2BGAN_PSEUDONYM_KEY", str(tmp_path / "short"))
    with pytest.raises(InputError, match="too short for a key"):
        pseudonym("a")
    monkeypatch.setenv("A2BGAN_PSEUDONYM_KEY", str(tmp_path / "short" / "key"))
    with pytest.raises(InputError, match=r"cannot be used .*set A2BGAN_PSEUDONYM_KEY"):
        pseudonym("a")
