"""Parts of a scoring, by real processes that are killed."""

import csv
import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from a2bgan.cli.app import app
from a2bgan.data.open_data import open_data
from a2bgan.detection import predict
from a2bgan.errors import InputError
from a2bgan.report.scored_parts import Workers, _claimed

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["a2bgan.cli.app", "a2bgan.training.loop"])


def score(run: Path, data: Path, out: Path, rank: int, count: int, seconds: float) -> None:
    """What a worker does: the command, with ``seconds`` a part more than it takes."""
    import torch

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
    load = predict.load_with_shape

    def slow(path, config):
        time.sleep(seconds / 3)
        return load(path, config)

    predict.load_with_shape = slow
    os.cpu_count = lambda: 1
    app(["predict", str(run), str(data), "--out", str(out), "--part-size", "3"])


def start(*arguments) -> multiprocessing.Process:
    process = PROCESSES.Process(target=score, args=arguments)
    process.start()
    return process


def parts(out: Path) -> list[str]:
    return sorted(p.name for p in (out / "parts").glob("*.parquet"))


def wait_for(condition, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "nothing happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def expected(run, phantoms, a2bgan, tmp_path_factory) -> list[tuple[str, ...]]:
    """Path, patient, score and flag of every image, by one process without parts."""
    out = tmp_path_factory.mktemp("whole")
    assert a2bgan("predict", run, phantoms, "--out", out, "--no-pictures").exit_code == 0
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [tuple(row[n] for n in ("path", "patient_id", "score", "flagged")) for row in rows]


def found(out: Path) -> list[tuple[str, ...]]:
    rows = pq.read_table(out / "scores.parquet").to_pylist()
    return [(r["path"], r["patient_id"], f"{r['score']:.6f}", str(int(r["flagged"]))) for r in rows]


def test_others_take_over_what_a_killed_worker_leaves(run, phantoms, expected, tmp_path):
    out = tmp_path / "out"
    workers = [start(run, phantoms, out, rank, 3, 0.3) for rank in range(3)]
    # Worker 1 begins with part 1; it is killed inside its second part.
    wait_for(lambda: "000001.parquet" in parts(out))
    workers[1].kill()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, -signal.SIGKILL, 0]
    assert parts(out) == [f"{k:06d}.parquet" for k in range(8)]
    assert [row[0] for row in found(out)] == [row.name for row in open_data(phantoms).rows]
    assert found(out) == expected


def test_all_killed_and_gone_on_with_by_another_number(run, phantoms, expected, tmp_path):
    out = tmp_path / "out"
    for rank in range(2):
        done = len(parts(out))
        worker = start(run, phantoms, out, rank, 2, 0.3)
        wait_for(lambda done=done: len(parts(out)) >= done + 2)
        worker.kill()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    assert not (out / "scores.parquet").exists()
    before = {name: (out / "parts" / name).stat().st_mtime_ns for name in parts(out)}
    assert 4 <= len(before) < 8
    worker = start(run, phantoms, out, 0, 1, 0)
    worker.join(120)
    assert worker.exitcode == 0
    assert found(out) == expected
    # What was there was not made again.
    assert before.items() <= {n: (out / "parts" / n).stat().st_mtime_ns for n in parts(out)}.items()


def test_parts_of_another_list_are_refused(run, phantoms, tiny_set, a2bgan, says, tmp_path):
    out = tmp_path / "out"
    result = a2bgan("predict", run, phantoms, "--out", out, "--part-size", 20)
    assert result.exit_code == 0, result.output
    assert "24 images scored" in result.output
    for data, size in ((tiny_set / "manifest.csv", 20), (phantoms, 5)):
        line = says(a2bgan("predict", run, data, "--out", out, "--part-size", size))
        assert "choose another --out" in line
    assert "--pictures" in says(
        a2bgan("predict", run, phantoms, "--out", out, "--part-size", 20, "--pictures")
    )


def test_parts_of_other_weights_are_refused(run, phantoms, a2bgan, says, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    for file in (other / "checkpoints").rglob("translator*.safetensors"):
        weights = load_file(file)
        save_file({name: value * 1.01 for name, value in weights.items()}, file)
    chosen = json.loads((other / "selection.json").read_text())
    del chosen["weights_sha256"]  # as if it had been selected
    (other / "selection.json").write_text(json.dumps(chosen))
    out = tmp_path / "out"
    command = ("predict", phantoms, "--out", out, "--part-size", 20)
    assert a2bgan(command[0], run, *command[1:]).exit_code == 0
    assert a2bgan(command[0], run, *command[1:]).exit_code == 0
    assert "another model" in says(a2bgan(command[0], other, *command[1:]))
    assert "--half" in says(a2bgan(command[0], run, *command[1:], "--half"))


def test_files_that_cannot_be_read_are_rows_with_the_reason(run, phantoms, a2bgan, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    out = tmp_path / "out"
    result = a2bgan("predict", run, tmp_path / "cut.png", phantoms, "--out", out, "--part-size", 10)
    assert result.exit_code == 0, result.output  # torchrun would start all processes again
    assert "1 image could not be scored" in result.output
    assert "may pass" not in result.output
    first, second, *_ = pq.read_table(out / "scores.parquet").to_pylist()
    assert "PNG" in first["error"]
    assert first["score"] is first["p_value"] is first["flagged"] is None
    assert second["error"] == ""


def test_ranks_come_from_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Workers.from_environment() == Workers(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert Workers.from_environment() == Workers(2, 5, local=0)
    for rank in ("5", "-1", "two"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(InputError, match="expected RANK < WORLD_SIZE"):
            Workers.from_environment()


def test_processes_on_one_machine_share_its_gpus(monkeypatch):
    taken = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    Workers(0, 1).take_gpu()
    assert taken == []  # what the user's CUDA takes
    Workers(7, 8, local=3).take_gpu()
    assert taken == [1]


def test_two_manifests_with_the_same_names_are_different_patients(run, a2bgan, tmp_path):
    for seed, folder in enumerate((tmp_path / "A", tmp_path / "B")):
        folder.mkdir()
        rng = np.random.default_rng(seed)
        for k in range(3):
            image = Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8))
            image.save(folder / f"img{k}.png")
        rows = "".join(f"img{k}.png,test\n" for k in range(3))
        (folder / "manifest.csv").write_text("path,split\n" + rows)
    sources = (tmp_path / "A/manifest.csv", tmp_path / "B/manifest.csv")
    out = tmp_path / "out"
    result = a2bgan("predict", run, *sources, "--out", out, "--part-size", 2)
    assert result.exit_code == 0, result.output
    assert "of 6 images flagged" in result.output
    table = pq.read_table(out / "scores.parquet").to_pylist()
    assert len({row["path"] for row in table}) == 6
    whole = a2bgan("predict", run, *sources, "--out", tmp_path / "whole", "--no-pictures")
    assert whole.exit_code == 0, whole.output
    with (tmp_path / "whole/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [row["path"] for row in table]
    assert [row["flagged"] for row in rows] == [str(int(row["flagged"])) for row in table]


def test_names_that_are_not_utf8_come_in_parts_too(run, a2bgan, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    out = tmp_path / "out"
    a2bgan("predict", run, tmp_path / "set", "--out", out, "--part-size", 2)
    (row,) = pq.read_table(out / "scores.parquet").to_pylist()
    assert row["path"] == str(tmp_path / r"set/\udcff.png")


def test_parts_with_failures_that_may_pass_are_made_again(run, phantoms, a2bgan, tmp_path):
    folder = shutil.copytree(phantoms.parent, tmp_path / "set")
    (folder / "cut.png").write_bytes(b"\x89PNG")
    gone = [folder / row.name for row in open_data(folder / phantoms.name).rows[:2]]
    for image in gone:
        image.rename(image.with_suffix(".away"))
    out = tmp_path / "out"
    command = ("predict", run, folder / "cut.png", folder / phantoms.name, "--out", out)
    rows = []
    for expected in ("2 of them for a reason that may pass", "1 image could not be scored"):
        result = a2bgan(*command, "--part-size", 10)
        assert result.exit_code == 0, result.output
        assert expected in result.output.replace("\n", " ")
        rows.append(pq.read_table(out / "scores.parquet").to_pylist())
        if len(rows) == 1:
            last = (out / "parts/000002.parquet").stat().st_mtime_ns
            for image in gone:
                image.with_suffix(".away").rename(image)
    first, second = rows
    assert [r["error"] for r in first[1:3]] == ["missing file"] * 2
    assert [r["path"] for r in first] == [r["path"] for r in second]  # each exactly once
    assert [bool(r["error"]) for r in second] == [True] + [False] * 24
    assert (out / "parts/000002.parquet").stat().st_mtime_ns == last  # nothing failed there
    assert "may pass" not in result.output
    assert not list((out / "parts").glob("*.again"))


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):

        def refuse(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", refuse)
        for wait in (False, True):
            with _claimed(tmp_path / "part.lock", wait) as mine:
                assert mine

    def taken(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("fcntl.flock", taken)
    with _claimed(tmp_path / "part.lock") as mine:
        assert not mine
