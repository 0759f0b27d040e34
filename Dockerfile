# One image for everything that runs: web, worker, beat, migrate. What it does is its command.

ARG PYTHON=python:3.11-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-compile -r requirements.txt \
 && /venv/bin/pip uninstall --yes --quiet pip \
 && python -m compileall -q --invalidation-mode unchecked-hash /venv
COPY . .
RUN python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Referral service" \
      org.opencontainers.image.description="A self-hosted service for referral programs" \
      org.opencontainers.image.licenses="MIT"

# pg_dump and pg_restore, of the version of the server in compose.yaml, for `manage.py backup` and `restore`. Debian's own
# are older, and packages of a version leave its mirrors when the next one comes.
ARG POSTGRES=18
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
 && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
 && apt-get install --yes --no-install-recommends "postgresql-client-${POSTGRES}" \
 && rm -rf /var/lib/apt/lists/*

RUN groupadd --gid 10001 service \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin service \
 && install --directory --owner 10001 --group 10001 --mode 700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app

# Only /tmp is written to, and /data where a database or mails are told to be there: all else can be read-only.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-I", "config/healthy.py"]
CMD ["python", "-m", "config.serve"]
