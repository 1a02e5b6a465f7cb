"""The fixtures of the tests with real clients."""

from tests.integration.real_clients.environments import environment_at
from tests.integration.real_clients.served_models import served

__all__ = ["environment_at", "served"]
