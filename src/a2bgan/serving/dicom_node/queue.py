"""Objects that a DICOM node has accepted and not yet delivered, in a folder that survives kill -9.

An object is in one place at a time, and goes from one to the next by a rename of something that
was written and synced whole before:

    received/KEY.dcm   its sender was told "success"; not scored yet
    outbox/KEY/        scored; its results wait for the receiver, each until it was acknowledged
    results/KEY/       scored; kept here, where there is no receiver
    unusable/KEY.dcm   accepted, but it could not be scored
    ledger.sqlite      the keys of all that is done

A key is a keyed hash of the SOP Instance UID: nothing from the network becomes part of a path, and
names of files tell nobody's UIDs. When a process is killed between two steps, the next start ends
the second one; `tmp/` holds what nobody was promised.
"""

import errno
import hashlib
import hmac
import os
import secrets
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from a2bgan.data.formats.kinds import is_hidden
from a2bgan.errors import InputError
from a2bgan.files.atomic import sync
from a2bgan.files.links import refuse_links
from a2bgan.serving.private_folder import make_private

RESERVE = 128 * 2**20
"""Bytes that stay free on the disk for results and the ledger."""

PLACES = ("tmp", "received", "outbox", "results", "unusable")


class Queue:
    """The queue of one node. Safe for threads; for one process at a time (`open_private`).

    Raises InputError if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tmp, self.received, self.outbox, self.results, self.unusable = (
            folder / place for place in PLACES
        )
        self._changed = threading.Condition(threading.RLock())
        self._ledger_lock = threading.Lock()
        if folder.is_dir():
            refuse_links(folder)
        try:
            shutil.rmtree(self.tmp, ignore_errors=True)
            for place in PLACES:
                make_private(folder / place)
            self._ledger = sqlite3.connect(
                folder / "ledger.sqlite", check_same_thread=False, isolation_level=None
            )
            self._ledger.execute("PRAGMA journal_mode = WAL")
            self._ledger.execute("PRAGMA synchronous = FULL")
            self._ledger.execute("CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL)")
            self._ledger.execute(
                "CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY) WITHOUT ROWID"
            )
            self.secret = self._secret()
            self._recover()
            sync(folder)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be used ({error.strerror}); choose another --queue"
            ) from None
        except sqlite3.Error as error:
            raise InputError(
                f"{folder / 'ledger.sqlite'}: cannot be used ({error}); choose another --queue"
            ) from None

    def close(self) -> None:
        self._ledger.close()

    def key(self, uid: str) -> str:
        """64 hexadecimal digits for a SOP Instance UID."""
        return hmac.new(self.secret.encode(), uid.encode(), hashlib.sha256).hexdigest()

    def knows(self, key: str) -> bool:
        """True where it was accepted before and need not be sent again.

        What could not be scored may have been damaged on its way: it is not known.
        """
        with self._changed:
            if key in self._received or key in self._waiting:
                return True
        return self._is_done(key)

    @contextmanager
    def incoming(self, content: bytes) -> Iterator[Path]:
        """A file with the content, which is gone when the block ends unless it was kept.

        Raises OSError, with ENOSPC also where less than `RESERVE` would stay free.
        """
        if shutil.disk_usage(self.tmp).free < RESERVE + len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file = self.tmp / f"{uuid.uuid4().hex}.dcm"
        try:
            file.write_bytes(content)
            yield file
        finally:
            file.unlink(missing_ok=True)

    def keep(self, file: Path, key: str) -> bool:
        """Take a file of `incoming` over: when this returns, it is on the disk for good.

        False if the key is known. Raises OSError.
        """
        sync(file)
        with self._changed:
            if self.knows(key):
                return False
            os.rename(file, self.received / f"{key}.dcm")
            sync(self.received)
            (self.unusable / f"{key}.dcm").unlink(missing_ok=True)
            self._received[key] = None
            self._changed.notify_all()
        return True

    def wait(self, *, for_sending: bool, seconds: float) -> list[str]:
        """The keys to be sent or scored, oldest first; waits for one so long at most."""
        with self._changed:
            if not (self._waiting if for_sending else self._received):
                self._changed.wait(seconds)
            return list(self._waiting if for_sending else self._received)

    def finish(self, key: str, results: dict[str, bytes], *, send: bool) -> None:
        """Keep an object's results, for sending or for good, and let go of it. Raises OSError.

        results: contents of DICOM files by their names, see `encoded`.
        """
        partial, place = self.tmp / key, self.outbox if send else self.results
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, content in results.items():
            (partial / f"{name}.dcm").write_bytes(content)
            sync(partial / f"{name}.dcm")
        sync(partial)
        if (place / key).exists():  # of a ledger that was deleted
            shutil.rmtree(place / key)
        os.rename(partial, place / key)
        sync(place)
        if not send:
            self._enter(key)
        with self._changed:
            (self.received / f"{key}.dcm").unlink(missing_ok=True)
            self._received.pop(key, None)
            if send:
                self._waiting[key] = None
                self._changed.notify_all()

    def give_up(self, key: str) -> None:
        """Put aside what cannot be scored. Raises OSError."""
        with self._changed:
            os.rename(self.received / f"{key}.dcm", self.unusable / f"{key}.dcm")
            sync(self.unusable)
            sync(self.received)
            self._received.pop(key, None)

    def files(self, key: str) -> list[Path]:
        """The results of an object that were not acknowledged yet."""
        return sorted((self.outbox / key).glob("*.dcm"))

    def sent(self, key: str) -> None:
        """Everything of it was acknowledged. Raises OSError."""
        self._enter(key)
        with self._changed:
            shutil.rmtree(self.outbox / key)
            self._waiting.pop(key, None)

    def _secret(self) -> str:
        row = self._ledger.execute("SELECT value FROM secret").fetchone()
        if row is None:
            row = (secrets.token_hex(32),)
            self._ledger.execute("INSERT INTO secret VALUES (?)", row)
        return str(row[0])

    def _recover(self) -> None:
        """End what was begun, see the top."""
        for path in _entries(self.outbox):
            if self._is_done(path.name):
                shutil.rmtree(path)
            elif not any(path.iterdir()):
                self._enter(path.name)
                path.rmdir()
        for path in _entries(self.received):
            if (self.results / path.stem).exists():
                self._enter(path.stem)
            if (self.outbox / path.stem).exists() or self._is_done(path.stem):
                path.unlink()
        self._received = {path.stem: None for path in _by_age(self.received)}
        self._waiting = {path.name: None for path in _by_age(self.outbox)}

    def _is_done(self, key: str) -> bool:
        with self._ledger_lock:
            row = self._ledger.execute("SELECT 1 FROM done WHERE key = ?", (key,)).fetchone()
        return row is not None

    def _enter(self, key: str) -> None:
        try:
            with self._ledger_lock:
                self._ledger.execute("INSERT OR IGNORE INTO done VALUES (?)", (key,))
        except sqlite3.OperationalError:
            raise OSError(errno.ENOSPC, "the ledger cannot be written") from None


def _by_age(folder: Path) -> list[Path]:
    return sorted(_entries(folder), key=lambda path: path.stat().st_mtime_ns)


def _entries(folder: Path) -> list[Path]:
    """Files and folders in a folder, but for hidden ones, which systems leave everywhere."""
    return [path for path in folder.iterdir() if not is_hidden(path.name)]
