import os

import pytest

from a2bgan.data.prepare import downloads
from a2bgan.data.prepare.downloads import Download


def test_archives_read_as_if_they_were_unpacked(tmp_path, put, zipped, tarred):
    put(tmp_path / "list.txt", "plain")
    put(tmp_path / "a/b.zip", zipped({"x/1.png": b"one", "x/2.png": b"two"}))
    put(tmp_path / "a/c.tar.gz", tarred({"./y/3.png": b"three"}))
    put(
        tmp_path / "d.zip",
        zipped({"e/f.zip": zipped({"4.png": b"four"}), "g.tgz": tarred({"5": b"5"})}),
    )
    download = Download(tmp_path)
    contents = {
        "list.txt": b"plain",
        "a/x/1.png": b"one",
        "a/x/2.png": b"two",
        "a/y/3.png": b"three",
        "e/4.png": b"four",
        "5": b"5",
    }
    assert set(download.names) == set(contents)
    out = tmp_path / "out"
    download.place({name: out / name for name in contents})
    assert {name: (out / name).read_bytes() for name in contents} == contents
    assert download.read_text("e/4.png") == "four"


def test_the_download_may_be_one_archive(tmp_path, put, zipped):
    path = put(tmp_path / "archive.zip", zipped({"train.txt": b"list", "train/1.png": b"one"}))
    download = Download(path)
    assert download.names == ["train.txt", "train/1.png"]
    download.place({"train/1.png": tmp_path / "1.png"})
    assert (tmp_path / "1.png").read_bytes() == b"one"


def test_what_is_unpacked_already_counts(tmp_path, put, zipped):
    put(tmp_path / "images.zip", zipped({"images/1.png": b"packed", "images/2.png": b"packed"}))
    put(tmp_path / "images/1.png", b"plain")
    download = Download(tmp_path)
    assert download.names == ["images/1.png", "images/2.png"]
    assert download.read_text("images/1.png") == "plain"


def test_plain_files_are_linked_and_copied_where_that_fails(tmp_path, put, monkeypatch):
    source = put(tmp_path / "in/real.png", b"pixels")
    os.symlink(source, tmp_path / "in/link.png")
    download = Download(tmp_path / "in")
    download.place({"link.png": tmp_path / "linked.png"})
    assert not (tmp_path / "linked.png").is_symlink()
    assert (tmp_path / "linked.png").samefile(source)

    def refuse(*_):
        raise OSError("other file system")

    monkeypatch.setattr(os, "link", refuse)
    download.place({"real.png": tmp_path / "copied.png"})
    assert (tmp_path / "copied.png").read_bytes() == b"pixels"
    assert not (tmp_path / "copied.png").samefile(source)


def test_links_in_circles_end(tmp_path, put):
    put(tmp_path / "in/1.png", b"one")
    os.symlink(tmp_path / "in", tmp_path / "in/again")
    assert "1.png" in Download(tmp_path / "in").names


def test_hidden_files_are_left_out(tmp_path, put, zipped):
    put(tmp_path / ".DS_Store", b"")
    put(tmp_path / "a.zip", zipped({"__MACOSX/._1.png": b"", "1.png": b"one"}))
    assert Download(tmp_path).names == ["1.png"]


@pytest.mark.parametrize(
    "name",
    ["../e.png", "a/../../e.png", "/e.png", "C:/e.png", "a\\..\\..\\e.png", "a\nb.png"],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "nested"])
def test_members_that_lead_elsewhere_are_refused(
    tmp_path, put, zipped, tarred, message, name, kind
):
    members = {"ok.png": b"", name: b"evil"}
    content = tarred(members) if kind == "tar.gz" else zipped(members)
    if kind == "nested":
        content = zipped({"inner.zip": content})
    path = put(tmp_path / "root" / f"a.{'zip' if kind == 'nested' else kind}", content)
    text = message(Download, tmp_path / "root")
    assert text.startswith(f"{path}: member ") and "no safe name" in text


def test_absurd_sizes_are_refused_before_anything_is_unpacked(
    tmp_path, put, zipped, message, monkeypatch
):
    monkeypatch.setattr(downloads, "LARGEST_FILE", 1 << 20)
    path = put(tmp_path / "bomb.zip", zipped({"1.png": bytes(3 << 20)}))
    assert message(Download, tmp_path) == (
        f"{path}: member '1.png' is 3 MB large; no image is, so it is left"
    )


def test_a_full_disk_is_seen_in_time(tmp_path, put, zipped, message, monkeypatch):
    put(tmp_path / "in/a.zip", zipped({"1.png": bytes(3 << 20)}))
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("U", (), {"free": 1 << 20}))
    text = message(Download(tmp_path / "in").place, {"1.png": tmp_path / "out/1.png"})
    assert "3 MB to unpack, 1 MB free" in text
    assert not (tmp_path / "out/1.png").exists()


def test_damaged_archives_are_named(tmp_path, put, zipped, tarred, message):
    path = put(tmp_path / "a/a.zip", b"not a zip")
    assert message(Download, tmp_path / "a").startswith(f"{path}: damaged archive")
    path = put(tmp_path / "b/b.tar.gz", tarred({"1.png": os.urandom(9000)})[:-3000])
    assert message(Download, tmp_path / "b").startswith(f"{path}: damaged archive")
    content = bytearray(zipped({"1.png": os.urandom(500)}))
    content[100] ^= 1  # a bit of the picture, found by its checksum
    path = put(tmp_path / "c/c.zip", bytes(content))
    download = Download(tmp_path / "c")
    text = message(download.place, {"1.png": tmp_path / "1.png"})
    assert text.startswith(f"{path}: damaged archive")


def test_encrypted_archives_are_named(tmp_path, put, zipped, message):
    content = bytearray(zipped({"1.png": b"pixels"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path = put(tmp_path / "a.zip", bytes(content))
    text = message(Download(tmp_path).place, {"1.png": tmp_path / "out.png"})
    assert text.startswith(f"{path}: cannot be unpacked") and "unpack it yourself" in text


def test_one_file_is_found_or_the_problem_named(tmp_path, put, message):
    put(tmp_path / "a/train_9B.txt", "")
    download = Download(tmp_path)
    patterns = ("train.txt", "train*.txt")
    assert download.find_one(patterns, "lists") == "a/train_9B.txt"
    assert (
        message(download.find_one, ("x.csv",), "lists") == f"{tmp_path}: no x.csv; expected lists"
    )
    put(tmp_path / "b/train_8B.txt", "")
    assert "2 files train*.txt, such as a/train_9B.txt and b/train_8B.txt" in message(
        Download(tmp_path).find_one, patterns, "lists"
    )
    put(tmp_path / "train.txt", "")
    assert Download(tmp_path).find_one(patterns, "lists") == "train.txt"


def test_a_missing_folder_is_named(tmp_path, message):
    assert message(Download, tmp_path / "no").startswith(f"{tmp_path / 'no'}: no such folder")


def test_text_that_is_not_utf8_is_named(tmp_path, put, message):
    put(tmp_path / "a.txt", b"\xff\xfe\x00")
    assert "a.txt: not UTF-8" in message(Download(tmp_path).read_text, "a.txt")
