"""Very many images in parts: what is in the result, and that nothing which is killed changes it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from a2bgan.data.open_data import open_data
from a2bgan.detection.open_model import open_model
from a2bgan.errors import InputError
from a2bgan.report import archive, archive_list, archive_workers
from a2bgan.report.archive import PartScorer, finish, open_archive
from a2bgan.report.archive_list import ArchiveList, write_list

COLUMNS = ("path", "patient_id", "score", "flagged")


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    """Make parts here, without Ray."""

    def make(found, opening, cores, workers) -> Iterator[int]:
        scorer = PartScorer(found, *open_model(opening.path))
        yield from map(scorer.make, found.missing())

    monkeypatch.setattr(archive_workers, "score_parts", make)


@pytest.fixture(scope="module")
def expected(run, phantoms, a2bgan, tmp_path_factory) -> list[tuple[str, ...]]:
    """Path, patient, score and flag of every image, as `predict` gives them."""
    out = tmp_path_factory.mktemp("whole")
    assert a2bgan("predict", run, phantoms, "--out", out, "--no-pictures").exit_code == 0
    with (out / "scores.csv").open(newline="") as file:
        return [tuple(row[name] for name in COLUMNS) for row in csv.DictReader(file)]


def found(out: Path) -> list[tuple[str, ...]]:
    rows = pq.read_table(out / "scores").to_pylist()
    return [(r["path"], r["patient_id"], f"{r['score']:.6f}", str(int(r["flagged"]))) for r in rows]


def parts(out: Path) -> list[str]:
    return sorted(file.name for file in (out / "parts").glob("*.parquet"))


def test_a_list_gives_what_predict_gives(
    run, phantoms, expected, a2bgan, tmp_path, in_this_process
):
    result = a2bgan("score-archive", run, phantoms, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "24 images scored" in result.output
    assert len(parts(tmp_path)) == 24  # so few that each is a part of its own
    assert found(tmp_path) == expected


def test_a_stopped_call_is_gone_on_with(run, phantoms, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FEWEST_PARTS", 5)
    model, calibration = open_model(run)
    first = open_archive(str(phantoms), tmp_path, model)
    assert first.missing() == [0, 1, 2, 3, 4]
    assert [PartScorer(first, model, calibration).make(k) for k in (1, 4)] == [5, 4]
    before = (first.file(1).stat().st_mtime_ns, first.file(4).stat().st_mtime_ns)
    again = open_archive(str(phantoms), tmp_path, model)
    assert again == first and again.missing() == [0, 2, 3]
    scorer = PartScorer(again, model, calibration)
    assert sum(scorer.make(k) for k in range(5)) == 24
    assert (first.file(1).stat().st_mtime_ns, first.file(4).stat().st_mtime_ns) == before
    result = finish(again, calibration, 0.05)
    assert found(tmp_path) == expected
    assert (result.scored, result.failed) == (24, 0)
    assert result.flagged == len({row[1] for row in expected if row[3] == "1"})
    assert result.patients == len({row[1] for row in expected})


def test_calls_that_end_together_leave_one_whole_result(
    run, phantoms, expected, a2bgan, tmp_path, in_this_process
):
    out = tmp_path / "out"
    command = ("score-archive", run, phantoms, "--out", out)
    for _ in range(2):  # the second finds all parts and puts the same in place again
        assert a2bgan(*command).exit_code == 0
    model, calibration = open_model(run)
    opened = open_archive(str(phantoms), out, model)
    (out / ".building-scores").mkdir()  # of a call that was killed
    (out / ".building-scores" / opened.file(0).name).write_text("half")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: finish(opened, calibration, 0.05), range(4)))
    assert all(result == results[0] for result in results)
    assert found(out) == expected
    names = {entry.name for entry in out.iterdir()}
    assert names == {"list.parquet", "plan.json", "parts", "scores"}


def test_another_list_or_model_is_refused(run, phantoms, tiny_set, tmp_path):
    model, _ = open_model(run)
    open_archive(str(phantoms), tmp_path, model)
    with pytest.raises(InputError, match="choose another --out"):
        open_archive(str(tiny_set / "manifest.csv"), tmp_path, model)
    with pytest.raises(InputError, match="choose another --out"):
        open_archive(str(phantoms), tmp_path, open_model(run, half=True)[0])


def test_what_cannot_be_read_is_a_row_and_tried_again_if_it_may_pass(
    run, phantoms, a2bgan, tmp_path, in_this_process
):
    folder = shutil.copytree(phantoms.parent, tmp_path / "set")
    (folder / "cut.png").write_bytes(b"\x89PNG")
    (folder / "head.nii").write_bytes(b"")
    gone = folder / open_data(folder / phantoms.name).rows[0].name
    gone.rename(gone.with_suffix(".away"))
    rows = (folder / phantoms.name).read_text().splitlines()
    column = rows[0].split(",").index("path")
    names = ["cut.png", "head.nii", *(row.split(",")[column] for row in rows[1:])]
    (folder / "list.csv").write_text("\n".join(["path", *names]) + "\n")
    out, command = tmp_path / "out", ("score-archive", run, folder / "list.csv")
    first = a2bgan(*command, "--out", out)
    assert first.exit_code == 0, first.output
    assert "3 images could not be scored" in first.output
    assert "1 of them for a reason that may pass" in first.output.replace("\n", " ")
    table = pq.read_table(out / "scores").to_pylist()
    assert [row["path"] for row in table] == names
    assert "PNG" in table[0]["error"] and "volume" in table[1]["error"]
    assert table[2]["error"] == "missing file"
    assert table[0]["score"] is table[0]["p_value"] is table[0]["flagged"] is None
    gone.with_suffix(".away").rename(gone)
    second = a2bgan(*command, "--out", out)
    assert "25 of 26 parts are there" in second.output
    assert "may pass" not in second.output
    table = pq.read_table(out / "scores").to_pylist()
    assert [row["path"] for row in table] == names
    assert [bool(row["error"]) for row in table] == [True, True] + [False] * 24


def test_lists_folders_and_patterns(tmp_path, monkeypatch):
    names = ["b.png", "a.png", os.fsdecode(b"\xff.png")]
    (tmp_path / "set").mkdir()
    for name in names:
        (tmp_path / "set" / name).write_bytes(b"x")
    (tmp_path / "set/x.csv").write_text("patient_id,path\n007,b.png\n,a.png\n")
    table = pa.table({"path": ["set/b.png", "set/a.png"], "patient_id": ["7", None]})
    pq.write_table(table, tmp_path / "x.parquet")
    monkeypatch.chdir(tmp_path)
    known = {
        "set": [("a.png", ""), ("b.png", ""), (names[2], "")],
        "set/x.csv": [("b.png", "007"), ("a.png", "")],
        "x.parquet": [("set/b.png", "7"), ("set/a.png", "")],
        "*.parquet": [("set/b.png", "7"), ("set/a.png", "")],
        "s*/[ab].png": [("set/a.png", ""), ("set/b.png", "")],
    }
    for source, rows in known.items():
        assert write_list(source, tmp_path / "list") == len(rows)
        read = ArchiveList(tmp_path / "list").rows(0, 99)
        assert (sorted(read) if "s*" in source else read) == rows
        assert all((archive_list.root_of(source) / name).is_file() for name, _ in rows)
    for source in ("none*.png", "a.txt", "missing.csv"):
        with pytest.raises(InputError):
            write_list(source, tmp_path / "list")


def test_a_range_of_a_long_list_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_list, "ROWS", 7)
    (tmp_path / "x.csv").write_text("path\n" + "".join(f"{k}.png\n" for k in range(50)))
    assert write_list(str(tmp_path / "x.csv"), tmp_path / "list") == 50
    read = ArchiveList(tmp_path / "list")
    for start, stop in ((0, 3), (5, 16), (13, 14), (40, 60)):
        expected = [(f"{k}.png", "") for k in range(start, min(stop, 50))]
        assert read.rows(start, stop) == expected


def test_best_scores_are_those_of_a_dictionary():
    rng, best, known = np.random.default_rng(0), archive._BestScores(), dict[int, float]()
    for size in (0, 5, 1000, 3):
        keys, scores = rng.integers(0, 200, size).astype(np.uint64), rng.normal(size=size)
        best.add(keys, scores)
        best.merge()
        for key, score in zip(keys.tolist(), scores.tolist(), strict=True):
            known[key] = max(known.get(key, -np.inf), score)
    assert dict(zip(best.keys.tolist(), best.scores.tolist(), strict=True)) == known
    assert best.keys.tolist() == sorted(known)


def below(process: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    children = dict[int, list[int]]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def command_of(process: int) -> str:
    """A process's command; "" once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "nothing happened"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's workers in /proc")
def test_a_killed_worker_and_a_killed_driver_change_nothing(run, phantoms, expected, tmp_path):
    pytest.importorskip("ray")
    names = [row[0] for row in expected] * 100
    listed, out = phantoms.parent / "archive.csv", tmp_path / "out"
    listed.write_text("\n".join(["path", *names]) + "\n")
    command = [sys.executable, "-m", "a2bgan", "score-archive", run, listed, "--out", out]
    command += ["--cores", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen([*command, "--workers", "2"], **quiet)

    def workers() -> list[int]:
        return [p for p in below(driver.pid) if "_Worker" in command_of(p)]

    try:
        wait_for(lambda: out.exists() and len(parts(out)) >= 2)
        os.kill(workers()[0], signal.SIGKILL)
        done = len(parts(out))
        wait_for(lambda: len(parts(out)) >= done + 4)
        left = workers()
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: not any(map(command_of, left)), 60)
    before = {name: (out / "parts" / name).stat().st_mtime_ns for name in parts(out)}
    images = json.loads((out / "plan.json").read_text())["images"]
    assert images == len(names) and 6 <= len(before) < 64
    subprocess.run([*command, "--workers", "1"], check=True, **quiet)
    table = pq.read_table(out / "scores").to_pylist()
    assert [row["path"] for row in table] == names  # each exactly once
    assert [f"{row['score']:.6f}" for row in table] == [row[2] for row in expected] * 100
    # What was there was not made again.
    now = {name: (out / "parts" / name).stat().st_mtime_ns for name in parts(out)}
    assert before.items() <= now.items()
