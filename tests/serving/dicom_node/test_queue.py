"""The queue of a DICOM node, killed after every step it takes."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import a2bgan.serving.dicom_node.queue as dicom_queue
from a2bgan.errors import InputError
from a2bgan.serving.dicom_node.queue import Queue

UID = "1.2.840.99.1"


class Killed(BaseException):
    """The process ends here; nothing after it runs."""


RESULTS = {"capture": b"a capture", "map": b"a map"}


def accept(queue: Queue, content: bytes = b"an image") -> bool:
    with queue.incoming(content) as file:
        return queue.keep(file, queue.key(UID))


def keys(queue: Queue, *, for_sending: bool) -> list[str]:
    return queue.wait(for_sending=for_sending, seconds=0)


def go_through(queue: Queue, *, send: bool, fail: bool = False) -> None:
    """What the threads of a node do with what they find."""
    for key in keys(queue, for_sending=False):
        if fail:
            queue.give_up(key)
        else:
            queue.finish(key, RESULTS, send=send)
    for key in keys(queue, for_sending=True):
        for file in queue.files(key):
            file.unlink()
        queue.sent(key)


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count what changes the disk, and end before the step of that number."""
    count = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            if count == step:
                raise Killed
            count += 1
            return real(*args, **kwargs)

        return call

    for module, name in (
        (dicom_queue.os, "rename"), (dicom_queue, "sync"), (dicom_queue.shutil, "rmtree"),
        (Path, "unlink"), (Path, "mkdir"), (Path, "rmdir"), (Queue, "_enter"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


def counted_in(calls: list[object], real: Callable[..., object]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        calls.append(args[0])
        return real(*args, **kwargs)

    return call


@pytest.mark.parametrize("way", ["send", "keep", "fail"])
def test_a_kill_at_any_step_loses_nothing_and_does_nothing_twice(tmp_path, monkeypatch, way):
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        queue = Queue(folder)
        promised, ended = False, False
        with monkeypatch.context() as patch:
            killed_at(step, patch)
            try:
                promised = accept(queue)
                go_through(queue, send=way == "send", fail=way == "fail")
                ended = True
            except Killed:
                pass
        queue.close()
        finished = []
        queue = Queue(folder)
        assert not list(queue.tmp.iterdir())
        key = queue.key(UID)
        there = queue.knows(key) or (queue.unusable / f"{key}.dcm").exists()
        assert there or not promised
        scored = not keys(queue, for_sending=False) and queue.knows(key)
        with monkeypatch.context() as patch:
            patch.setattr(queue, "finish", counted_in(finished, queue.finish))
            go_through(queue, send=way == "send", fail=way == "fail")
            if there:
                assert accept(queue) is (way == "fail")  # it may have been damaged on its way
                go_through(queue, send=way == "send", fail=way == "fail")
        assert len(finished) == (0 if scored or way == "fail" or not there else 1)
        if there:
            left = {
                place: [f for f in (folder / place).rglob("*") if f.is_file()]
                for place in dicom_queue.PLACES
            }
            expected = {"send": {}, "keep": {"results": 2}, "fail": {"unusable": 1}}[way]
            assert {place: len(found) for place, found in left.items() if found} == expected
        queue.close()
        if ended:
            assert step > 6
            return
    pytest.fail("it never ends")


def test_paths_hold_nothing_from_the_network_and_are_for_their_owner(tmp_path):
    queue = Queue(tmp_path)
    for uid in ("../../etc/passwd", "1.2.3", "/abs", "a\0b", ""):
        with queue.incoming(b"x") as file:
            assert queue.keep(file, queue.key(uid))
    names = [path.name for path in queue.received.iterdir()]
    assert len(names) == 5
    assert all(re.fullmatch(r"[0-9a-f]{64}\.dcm", name) for name in names)
    assert all((tmp_path / place).stat().st_mode & 0o077 == 0 for place in dicom_queue.PLACES)
    # Another queue has other keys: they cannot be looked up in a list of UIDs.
    (tmp_path / "other").mkdir()
    assert Queue(tmp_path / "other").key("1.2.3") != queue.key("1.2.3")


def test_a_queue_that_others_could_read_is_made_the_owners(tmp_path):
    for place in dicom_queue.PLACES:
        (tmp_path / place).mkdir()
        (tmp_path / place).chmod(0o755)
    Queue(tmp_path).close()
    assert all((tmp_path / place).stat().st_mode & 0o077 == 0 for place in dicom_queue.PLACES)


def test_nothing_is_accepted_when_the_disk_is_nearly_full(tmp_path, monkeypatch):
    queue = Queue(tmp_path)
    free = dicom_queue.RESERVE + 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
    assert accept(queue, b"four")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), queue.incoming(b"5 now"):
        pass
    assert not list(queue.tmp.iterdir())


def test_a_ledger_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="choose another --queue"):
        Queue(tmp_path)


def test_what_was_damaged_on_its_way_is_scored_when_it_comes_again(tmp_path):
    (tmp_path / "queue").mkdir()
    queue = Queue(tmp_path / "queue")
    assert accept(queue, b"half an image")
    go_through(queue, send=False, fail=True)
    assert not queue.knows(queue.key(UID))
    assert accept(queue, b"a whole image")
    assert not list(queue.unusable.iterdir())
    assert not accept(queue, b"a whole image")  # it waits
    go_through(queue, send=False)
    assert queue.knows(queue.key(UID))
    assert not accept(queue, b"a whole image")
    queue.close()


def test_hidden_files_of_a_system_are_passed_over(tmp_path):
    (tmp_path / "queue").mkdir()
    Queue(tmp_path / "queue").close()
    for place in ("outbox", "received"):
        (tmp_path / "queue" / place / ".DS_Store").write_bytes(b"mac")
    queue = Queue(tmp_path / "queue")
    assert keys(queue, for_sending=True) == keys(queue, for_sending=False) == []
    queue.close()


def test_a_link_in_a_queue_is_refused(tmp_path):
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "tmp").symlink_to(tmp_path)
    with pytest.raises(InputError, match="'tmp' is a link"):
        Queue(tmp_path / "queue")
