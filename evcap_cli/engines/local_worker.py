"""The process of a worker of the local engine: ``python -m evcap_cli.engines.local_worker FD``.

It ends when its driver does, whatever the models are doing: a socket of which nobody holds the other end is closed.
"""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection

from evcap_cli.engines.worker_host import WorkerHost


def main() -> None:
    """Talk to the driver until it is gone."""
    connection = Connection(int(sys.argv[1]))
    try:
        work, driver, device, place = connection.recv()
        host: WorkerHost[object] = WorkerHost(work, driver, device, place)
        while True:
            connection.send(host.exchange(connection.recv()))
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main()
