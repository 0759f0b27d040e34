"""What a team would write instead for speed alone: the measured calls on FastAPI, asyncpg and orjson.

It works on the tables of the service, takes and makes the same tokens and cursors, checks what the service checks and
writes what the service writes, by hand-written SQL in as few round trips as a careful engineer would make. It knows no
limits, no metrics, no languages, and of the calls only what is measured: see `docs/performance.md`.
"""
