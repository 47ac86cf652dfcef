"""The audit finds planted shortcuts, remedies remove them, and labels do not matter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from a2bgan.data.config import DataConfig
from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.data.manifest import Manifest
from a2bgan.data.open_data import open_data
from a2bgan.detection.audit.shortcuts import Audit, Shortcut, audit_shortcuts
from a2bgan.detection.measures.delong import auroc_with_error


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Manifest]:
    folder = tmp_path_factory.mktemp("planted")
    return {
        shortcut: open_data(
            write_phantoms(
                folder / str(shortcut), size=32, healthy=150, mixed_normal=75, mixed_abnormal=75,
                test_normal=0, test_abnormal=0, shortcut=shortcut,
            )
        )
        for shortcut in (None, "exposure", "marker")
    }  # fmt: skip


def audit(manifest: Manifest, **options: object) -> Audit:
    found = audit_shortcuts(manifest, DataConfig.model_validate({"size": 32, **options}))
    assert found is not None
    return found


def named(found: Audit, verdict: str = "shortcut", seen: str = "preprocessed") -> set[str]:
    return {s.statistic for s in found.shortcuts if s.seen == seen and s.level == verdict}


def test_nothing_is_named_where_nothing_is_planted(planted):
    assert audit(planted[None]).warnings() == []


@pytest.mark.parametrize(
    ("shortcut", "expected", "remedies"),
    [
        ("exposure", "contrast (sd)", [{"equalize": True}, {"standardize": True}]),
        ("marker", "marks in corners", [{"mask_corners": 0.2}]),
    ],
)
def test_what_is_planted_is_named_and_removed_by_its_remedy(planted, shortcut, expected, remedies):
    found = audit(planted[shortcut])
    assert expected in named(found)
    assert expected in named(found, seen="original")
    (warning,) = (w for w in found.warnings() if w.startswith(f"shortcut: {expected} "))
    assert f"data.{next(iter(remedies[0]))}" in warning
    for remedy in remedies:
        after = audit(planted[shortcut], **remedy)
        assert not named(after) and not named(after, "suspected")
        assert not any("after preprocessing" in warning for warning in after.warnings())
        assert expected in named(after, seen="original")  # the files are as they were


def test_labels_do_not_matter(planted):
    manifest = planted["exposure"]
    flipped = [
        replace(row, label=None if row.label is None else 1 - row.label) for row in manifest.rows
    ]
    assert audit(Manifest(tuple(flipped), manifest.root)) == audit(manifest)


def test_aurocs_and_intervals_are_delongs_of_patients(planted):
    # Pairs of images belong to one patient.
    manifest = planted["exposure"]
    rows = tuple(
        replace(row, patient_id=f"{row.split}{k // 2}") for k, row in enumerate(manifest.rows)
    )
    found = audit(Manifest(rows, manifest.root))
    members = [row for split in ("healthy", "mixed") for row in rows if row.split == split]
    means = [np.asarray(Image.open(row.path)).mean() for row in members]
    is_mixed = np.array([row.split == "mixed" for row in members])
    auroc, error = auroc_with_error(is_mixed, means, [row.patient_id for row in members])
    (mean,) = (s for s in found.shortcuts if (s.statistic, s.seen) == ("mean brightness",
               "original"))  # fmt: skip
    reach = norm.ppf(1 - 0.05 / 2 / len(found.shortcuts)) * error
    assert mean.auroc == pytest.approx(auroc)
    assert mean.interval == pytest.approx((auroc - reach, auroc + reach))
    assert found.patients[0] < found.images[0]


def test_files_give_themselves_away(tmp_path: Path, make_texture):
    lines = ["path,split"]
    for k in range(60):
        name = f"{k}.{'jpg' if k >= 30 else 'png'}"
        image = Image.fromarray(make_texture(k))
        if k >= 30:
            image = image.resize((60, 48))
        image.save(tmp_path / name)
        lines.append(f"{name},{'mixed' if k >= 30 else 'healthy'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    found = audit(open_data(tmp_path))
    assert {"aspect ratio", "pixel count", "stored as .png"} <= named(found, seen="file")
    assert any("pixel count" in w and "networks do not see it" in w for w in found.warnings())


def test_each_of_three_formats_is_looked_at(tmp_path: Path, make_texture):
    lines = ["path,split"]
    kinds = {"healthy": ["png", "tif"], "mixed": ["jpg", "jpg", "png", "tif"]}
    for split, suffixes in kinds.items():
        for k in range(60):
            name = f"{split}-{k}.{suffixes[k % len(suffixes)]}"
            Image.fromarray(make_texture(k)).save(tmp_path / name)
            lines.append(f"{name},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    assert "stored as .jpg" in named(audit(open_data(tmp_path)), seen="file")


def test_few_or_no_images_are_no_finding(tiny_set: Path):
    manifest = open_data(tiny_set)
    found = audit(manifest)
    assert not found.enough and found.warnings() == []
    assert not any("*" in cell for row in found.table() for cell in row)
    for row in manifest.split("healthy"):
        row.path.unlink()
    assert audit_shortcuts(manifest, DataConfig()) is None


def test_one_patient_leaves_everything_open(tiny_set: Path):
    manifest = open_data(tiny_set)
    rows = tuple(replace(r, patient_id="one") if r.split == "mixed" else r for r in manifest.rows)
    found = audit(Manifest(rows, manifest.root))
    assert all(s.interval == (0, 1) for s in found.shortcuts if s.auroc not in (0.0, 1.0))
    assert not found.enough


@pytest.mark.parametrize(
    ("auroc", "interval", "verdict"),
    [
        (0.7, (0.61, 0.79), "shortcut"),
        (0.3, (0.21, 0.39), "shortcut"),
        (0.39, (0.3, 0.48), "suspected"),
        (0.61, (0.49, 0.73), ""),
        (0.59, (0.57, 0.61), ""),
    ],
)
def test_verdicts(auroc, interval, verdict):
    found = Shortcut("mean brightness", "preprocessed", auroc, interval)
    assert found.level == verdict
    assert found.strength == max(auroc, 1 - auroc)
    assert found.shown.endswith("higher" if auroc > 0.5 else "lower")


def test_the_worst_is_the_strongest_that_networks_see(planted):
    found = audit(planted["exposure"])
    assert found.worst().seen == "preprocessed"
    assert found.worst().strength == max(
        s.strength for s in found.shortcuts if s.seen == "preprocessed"
    )


def test_a_view_that_tells_the_sets_apart_is_named(planted):
    rng = np.random.default_rng(0)
    shares = {"healthy": 0.9, "mixed": 0.2}

    def tagged(row):
        view = "AP" if rng.random() < shares[row.split] else "PA"
        return replace(row, tags=(("view", view), ("age", f"{rng.integers(20, 80)}")))

    rows = tuple(map(tagged, planted[None].rows))
    found = audit(replace(planted[None], rows=rows))
    assert named(found, seen="acquisition") == {"view AP"}
    (warning,) = found.warnings()
    assert warning.startswith("shortcut: view AP is less frequent in the mixed set")
    assert [line[0] for line in found.table()].count("age") == 1
    # Of one set alone nothing can be compared.
    half = tuple(replace(r, tags=()) if r.split == "mixed" else r for r in rows)
    assert named(audit(replace(planted[None], rows=half)), seen="acquisition") == set()
