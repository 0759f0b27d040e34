"""The web server alone, with the answer ready."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ANSWER = Path(os.environ["BENCH_ANSWER"]).read_bytes()
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", HEADERS)
    return [ANSWER]
