import pytest

from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.files.links import refuse_links


@pytest.mark.parametrize("inside", ["link", "deep/er/link"])
@pytest.mark.parametrize("target", ["elsewhere.txt", "gone.txt", "."])
def test_a_link_anywhere_is_refused_by_its_name(tmp_path, inside, target):
    (tmp_path / "elsewhere.txt").write_text("mine")
    folder = tmp_path / "run"
    place = folder / inside
    place.parent.mkdir(parents=True)
    refuse_links(folder)
    place.symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=f"'{inside}' is a link"):
        refuse_links(folder)


def test_a_folder_that_is_a_link_itself_is_fine(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "run")
    refuse_links(tmp_path / "there")


def test_a_link_is_replaced_not_what_it_leads_to(tmp_path):
    precious = tmp_path / "bashrc"
    precious.write_text("mine")
    link = tmp_path / "metrics.json"
    link.symlink_to(precious)
    write_atomically(link, "new")
    assert precious.read_text() == "mine"
    assert link.read_text() == "new" and not link.is_symlink()
