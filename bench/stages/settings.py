"""The settings of the service, with the stages among its paths."""

import os

from config.settings import *  # noqa: F403 (all of them; below is what differs)

ROOT_URLCONF = "bench.stages.urls"
if os.environ.get("BENCH_STAGE") == "bare":
    MIDDLEWARE = []
