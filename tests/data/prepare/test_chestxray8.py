import pytest

from a2bgan.data.prepare import prepare
from a2bgan.data.prepare.chestxray8 import PAPER, prepare_chestxray8
from a2bgan.data.set_counts import SetCounts

HEADER_2017 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
COUNTS = SetCounts(12, 4, 3, test_normal=6, test_abnormal=2)


def table():
    """(image, labels, patient, view): 20 patients with 2 images each, the last 8 of them ill."""
    rows = []
    for patient in range(1, 21):
        for follow_up in range(2):
            labels = "No Finding"
            if patient > 12 and follow_up:
                labels = ("Cardiomegaly", "Cardiomegaly|Effusion")[patient % 2]
            rows.append((f"{patient:08d}_{follow_up:03d}.png", labels, str(patient), "PA"))
    rows.append(("00000021_000.png", "Effusion", "21", "PA"))
    rows.append(("00000022_000.png", "No Finding", "22", "AP"))
    rows.append(("00000023_000.png", "Cardiomegaly", "23", "AP"))
    return rows


def csv_of(rows, header=HEADER_2017):
    end = ",\n" if header.endswith(",\n") else "\n"
    return header + "".join(
        f"{image},{labels},{int(image[9:12])},{patient},58,M,{view},2682,2749,0.14300000000000002,"
        f"0.14300000000000002{end}"
        for image, labels, patient, view in rows
    )


@pytest.fixture
def images(picture):
    return {row[0]: picture(number) for number, row in enumerate(table())}


@pytest.fixture
def root(tmp_path, put, images):
    folder = tmp_path / "nih"
    put(folder / "Data_Entry_2017.csv", csv_of(table()))
    for number, (name, content) in enumerate(images.items()):
        put(folder / f"images_{number % 3 + 1:03d}" / "images" / name, content)
    return folder


def test_the_papers_numbers_are_those_of_the_paper():
    assert SetCounts(20657, 2111, 905, 7589, 301) == PAPER


@pytest.mark.parametrize("split", ["paper", "patient"])
def test_the_counts_come_out(root, tmp_path, rows_of, tally, split):
    prepare_chestxray8(root, tmp_path / "out", split=split, counts=COUNTS)
    rows = rows_of(tmp_path / "out")
    assert tally(rows) == COUNTS
    labels = {row[0]: row[1] for row in table()}
    for row in rows:
        findings = labels[row["path"].removeprefix("images/")]
        assert row["label"] == str(int("Cardiomegaly" in findings))
        assert row["label"] == "1" or findings == "No Finding"
        assert row["patient_id"] == str(int(row["path"][7:15])) and int(row["patient_id"]) < 21


def test_by_patient_nobody_is_on_two_sides(root, tmp_path, rows_of, shared_patients):
    for seed in range(5):
        prepare_chestxray8(root, tmp_path / f"{seed}", seed=seed, counts=COUNTS)
        assert not shared_patients(rows_of(tmp_path / f"{seed}"))
    prepare_chestxray8(root, tmp_path / "paper", split="paper", counts=COUNTS)
    assert shared_patients(rows_of(tmp_path / "paper"))


def packed(root, put, zipped, tarred, images, layout):
    """The same download as folders, archives and archives in an archive."""
    names = list(images)
    halves = [{name: images[name] for name in part} for part in (names[::2], names[1::2])]
    header = HEADER_2020 if layout == "flat" else HEADER_2017
    text = csv_of(table(), header)
    if layout == "flat":
        put(root / "Data_Entry_2017_v2020.csv", text)
        for name, content in images.items():
            put(root / "images" / name, content)
        return
    inner = [{f"images/{name}": content for name, content in half.items()} for half in halves]
    if layout == "tar":
        put(root / "Data_Entry_2017.csv", text)
        for number, members in enumerate(inner, 1):
            put(root / "images" / f"images_{number:03d}.tar.gz", tarred(members))
    elif layout == "zip":
        put(root / "Data_Entry_2017.csv", text)
        for number, members in enumerate(inner, 1):
            put(root / f"images_{number:03d}.zip", zipped(members))
    else:
        first, second = zipped(inner[0]), tarred(inner[1])
        members = {"CXR8/images/images_001.zip": first, "CXR8/images/images_002.tar.gz": second}
        put(root / "CXR8.zip", zipped({**members, "CXR8/Data_Entry_2017.csv": text.encode()}))


@pytest.mark.parametrize("layout", ["flat", "tar", "zip", "nested"])
def test_every_layout_gives_the_same_set(
    root, tmp_path, put, zipped, tarred, images, rows_of, layout
):
    expected = prepare_chestxray8(root, tmp_path / "expected", seed=5, counts=COUNTS)
    packed(tmp_path / "other", put, zipped, tarred, images, layout)
    made = prepare_chestxray8(tmp_path / "other", tmp_path / "out", seed=5, counts=COUNTS)
    assert made.manifest.read_bytes() == expected.manifest.read_bytes()
    for row in rows_of(tmp_path / "out"):
        path = tmp_path / "out" / row["path"]
        assert path.read_bytes() == images[path.name]


def test_view_and_finding_can_be_chosen(root, tmp_path, rows_of, tally):
    counts = SetCounts(12, 4, 2, test_normal=4, test_abnormal=2)
    prepare_chestxray8(root, tmp_path / "out", finding="Effusion", counts=counts)
    rows = rows_of(tmp_path / "out")
    ill = {row["path"] for row in rows if row["label"] == "1"}
    effusions = {f"images/{row[0]}" for row in table() if "Effusion" in row[1]}
    assert len(ill) == 4 and ill <= effusions
    counts = SetCounts(24, 4, 7, test_normal=5, test_abnormal=2)
    prepare_chestxray8(root, tmp_path / "any", split="paper", view="any", counts=counts)
    assert {"22", "23"} <= {row["patient_id"] for row in rows_of(tmp_path / "any")} and len(
        rows_of(tmp_path / "any")
    ) == 42


def test_the_papers_split_stops_at_other_numbers(root, tmp_path, message, rows_of, tally):
    counts = SetCounts(24, 8, 6, test_normal=12, test_abnormal=4)
    text = message(prepare_chestxray8, root, tmp_path / "out", split="paper", counts=counts)
    assert "needs 44 normal and 10 abnormal images, found 32 and 8" in text
    prepare_chestxray8(root, tmp_path / "out", split="paper", scale=True, counts=counts)
    assert tally(rows_of(tmp_path / "out")).healthy == 24 * 32 // 44


def test_part_of_the_images_will_do(root, tmp_path, rows_of):
    for path in (root / "images_003/images").iterdir():
        path.unlink()
    made = prepare_chestxray8(root, tmp_path / "out", counts=COUNTS)
    assert "13 of 40 images of the table are not there and were left out" in made.notes
    assert len(rows_of(tmp_path / "out")) == sum(made.counts.values()) < 27


def test_mistakes_are_named_in_one_line(root, tmp_path, put, message):
    def says(folder=root, **options):
        return message(prepare_chestxray8, folder, tmp_path / "out", **options)

    assert says(view="lateral") == "view 'lateral': use one of PA, AP, any"
    assert says(finding="Cold") == f"{root}: no finding 'Cold'; use one of Cardiomegaly, Effusion"
    assert "no finding 'No Finding'" in says(finding="No Finding")
    assert f"{root / 'images_001'}: no Data_Entry_2017*.csv; expected" in says(root / "images_001")
    put(tmp_path / "bare/Data_Entry_2017.csv", csv_of(table()))
    assert "none of the 40 images that the table lists is there" in says(tmp_path / "bare")
    put(root / "Data_Entry_2017.csv", "Image Index,Finding Labels\na.png,No Finding\n")
    assert "Data_Entry_2017.csv: no column Patient ID, View Position" in says()
    put(root / "Data_Entry_2017.csv", HEADER_2017 + "a.png,No Finding\n")
    assert "line 2: too few columns" in says()
    assert not (tmp_path / "out").exists()


def listed(folder, **parts):
    for part, names in parts.items():
        (folder / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def test_lists_say_where_each_image_goes(root, tmp_path, rows_of, message):
    names = [row[0] for row in table()]
    # Of any view; names may have folders; the second of 24 is in no list.
    healthy, mixed = ["00000022_000.png", *names[2:20]], [f"images/{n}" for n in names[24:32]]
    test = [*names[34:38], "00000021_000.png", "unknown.png"]
    lists = listed(tmp_path, healthy=healthy, mixed=mixed, test=test)
    made = prepare_chestxray8(root, tmp_path / "out", lists=lists)
    rows = rows_of(tmp_path / "out")
    found = {part: {r["path"] for r in rows if r["split"] == part} for part in ("healthy", "test")}
    assert found["healthy"] == {f"images/{name}" for name in healthy}
    assert found["test"] == {f"images/{name}" for name in names[34:38]}
    assert {r["path"] for r in rows if r["split"] == "mixed"} == {
        f"images/{name}" for name in names[24:32]
    }
    labels = {row["path"][7:]: row["label"] for row in rows}
    assert labels[names[25]] == "1" and labels[names[24]] == "0"
    assert made.notes == [
        "2 of 6 names in test.txt are not among the images with Cardiomegaly or without a finding "
        "and were left out"
    ]
    listed(tmp_path, healthy=[*healthy, names[25]], mixed=mixed[2:])
    noted = prepare_chestxray8(root, tmp_path / "noted", lists=lists).notes
    assert "1 images in healthy.txt are abnormal by the data set's own labels" in noted

    def says(**parts):
        return message(prepare_chestxray8, root, tmp_path / "no", lists=listed(tmp_path, **parts))

    assert "mixed.txt: 00000002_000.png is in healthy.txt already" in says(mixed=[names[2]])
    assert "mixed.txt: none of its 1 names is among the images" in says(mixed=["x.png"])
    (tmp_path / "mixed.txt").unlink()
    assert "mixed.txt: cannot be read; --lists is a folder with healthy.txt" in says()
    text = message(prepare, "chestxray8", root, tmp_path / "no", lists=lists, split="paper")
    assert text == "--lists says where each image goes: leave out --split, --scale and --view"
