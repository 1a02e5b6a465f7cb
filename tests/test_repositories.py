"""The models that a server is asked to serve: server/repository/repositories.py."""

from pathlib import Path

import pytest

from model.repository.model_places import FolderOfModels, ModelConfigFile
from model.repository.snapshot import RepositoryReader
from server.repository.repositories import FolderRepository
from server.settings.table import Settings


@pytest.mark.parametrize(
    ("text", "relative"),
    [
        ("/srv/models/net/1: not a model", "net/1: not a model"),
        ("cannot read '/srv/models/net/1/saved_model.pb'", "cannot read 'net/1/saved_model.pb'"),
        ("/srv/models: No such file or directory", "models: No such file or directory"),
        ("/srv/models/a, /srv/models/b", "a, b"),
        ("/srv/models.old/net: busy", "/srv/models.old/net: busy"),
        ("/mnt/srv/models/net: busy", "/mnt/srv/models/net: busy"),
        ("", ""),
    ],
)
def test_a_text_for_clients_has_paths_below_the_repository(text: str, relative: str) -> None:
    """Other paths stay."""
    places = FolderOfModels(Path("/srv/models"))
    reader = RepositoryReader(places, seconds=lambda: 0.0, now=lambda: 0.0)
    assert FolderRepository(Settings(), places, reader=reader).relative(text) == relative


def test_a_text_for_clients_hides_the_folders_of_all_base_paths(tmp_path: Path) -> None:
    """And the folder of the file that lists them."""
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config { name: "a" base_path: "/srv/first/a" } '
        'config { name: "b" base_path: "/srv/first/more/b" } }'
    )
    places = ModelConfigFile(path)
    places.find()
    reader = RepositoryReader(places, seconds=lambda: 0.0, now=lambda: 0.0)
    repository = FolderRepository(Settings(), places, reader=reader)
    text = f"{path}:1: wrong; /srv/first/a/1: wrong; /srv/first/more/b/1: wrong; /srv/c: wrong"
    shown = "models.config:1: wrong; a/1: wrong; b/1: wrong; /srv/c: wrong"
    assert repository.relative(text) == shown
