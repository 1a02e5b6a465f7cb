"""A folder for what is read once: model/backends/tensorflow/files/temporary.py."""

from pathlib import Path

import pytest

from model.backends.tensorflow.files.temporary import temporary_folder
from model.errors import ModelError

PLACE = "model.backends.tensorflow.files.temporary.TemporaryDirectory"


def test_the_folder_is_there_for_as_long_as_the_block(tmp_path: Path) -> None:
    """With all that was put into it."""
    with temporary_folder(tmp_path) as folder:
        (folder / "file").touch()
    assert not folder.exists()


def test_a_model_that_needs_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with what names another."""

    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/']")

    monkeypatch.setattr(PLACE, refuse)
    with pytest.raises(ModelError) as caught, temporary_folder(tmp_path / "m.h5"):
        pytest.fail("there is none")
    assert str(caught.value) == (
        f"{tmp_path}/m.h5: a Keras file needs a temporary folder: No usable temporary directory "
        "found in ['/tmp', '/']; set TMPDIR to a folder that can be written"
    )


def test_an_error_within_is_none_of_its_own(tmp_path: Path) -> None:
    """It comes out as it was."""
    with pytest.raises(PermissionError), temporary_folder(tmp_path):
        raise PermissionError
