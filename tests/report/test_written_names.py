from a2bgan.report.written_names import free_name, printable


def test_names_of_files_are_free():
    taken = dict[str, int]()
    given = ["a/x.png", "x-2.png", "b/x.png", "c/x.png", "x-2.dcm", "x-3.png", "x.png", "1.2.840"]
    assert [free_name(name, taken) for name in given] == [
        "x", "x-2", "x-3", "x-4", "x-2-2", "x-3-2", "x-5", "1.2.840",
    ]  # fmt: skip


def test_long_names_are_cut_and_stay_apart():
    taken = {}
    names = [free_name(f"{'ü' * 125}{k}.png", taken) for k in range(3)]
    assert len(set(names)) == 3
    assert all(len(f"{name}_regions.nii.gz.partial".encode()) < 255 for name in names)


def test_many_equal_names_are_not_counted_through_anew():
    class Counted(dict[str, int]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return super().__contains__(name)

    taken = Counted()
    names = [free_name(f"{k}/img.png", taken) for k in range(500)]
    assert (names[-1], len(set(names))) == ("img-500", 500)
    assert taken.asked <= 1000


def test_percents_are_printed_as_they_are():
    assert printable("33\N{NO-BREAK SPACE}%\x1b") == "33\N{NO-BREAK SPACE}%\\x1b"
