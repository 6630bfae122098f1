"""Folders of unfinished work: whose they are, and what is left of one that is another's or damaged."""

import pytest

from nearsight.errors import StorageError
from nearsight.resume import JOB, open_folder


def begin(folder):
    (folder / "field").write_text("begun")
    return {"place": 7}


def test_the_same_job_goes_on(tmp_path):
    target, identity = tmp_path / "a.h5", {"cutoff_A": 4.5, "shape": [1, 2]}
    folder, noted = open_folder(target, "partial", identity, begin, ["field"])
    assert (folder.name, noted) == (".a.partial", {"place": 7})
    (folder / "field").write_text("half")
    again = open_folder(target, "partial", {"shape": [1, 2], "cutoff_A": 4.5}, begin, ["field"])
    assert again == (folder, {"place": 7})
    assert (folder / "field").read_text() == "half"
    assert open_folder(target, "tiles", identity) == (tmp_path / ".a.tiles", {})


@pytest.mark.parametrize("reason", ["another identity", "a missing file", "killed while it began"])
def test_another_begins_anew(tmp_path, reason):
    identity = {"cutoff_A": 4.5}
    folder, _ = open_folder(tmp_path / "a.h5", "partial", identity, begin, ["field"])
    (folder / "field").write_text("half")
    (folder / "done-0").touch()
    if reason == "another identity":
        identity = {"cutoff_A": 4.6}
    elif reason == "a missing file":
        (folder / "field").unlink()
    else:
        (folder / JOB).unlink()
    assert open_folder(tmp_path / "a.h5", "partial", identity, begin, ["field"])[1] == {"place": 7}
    assert sorted(path.name for path in folder.iterdir()) == ["field", JOB]
    assert (folder / "field").read_text() == "begun"


@pytest.mark.parametrize("content", ["", "[]", "7", "{", '{"place": 3}', '{"fingerprint": []}', "null"])
def test_a_damaged_note_begins_anew(tmp_path, content):
    folder, _ = open_folder(tmp_path / "a.h5", "partial", {}, begin)
    (folder / JOB).write_text(content)
    assert open_folder(tmp_path / "a.h5", "partial", {}, begin)[1] == {"place": 7}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        open_folder(tmp_path / "file" / "a.h5", "partial", {})
