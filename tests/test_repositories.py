"""The models that a server is asked to serve: server/repository/repositories.py."""

from pathlib import Path

import pytest

from model.repository.model_places import FolderOfModels
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
