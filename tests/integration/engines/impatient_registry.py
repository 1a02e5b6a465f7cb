"""
`python -m tests.integration.engines.impatient_registry`: `tensorferry registry`, which waits less.

A client of seaport that is silent for 1 s is closed.
"""

from scripts.cli import main
from server.registry.seaport.connections import SeaportFactory

if __name__ == "__main__":
    SeaportFactory.silence = 1.0
    main()
