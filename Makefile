# `make run` serves, `make test` checks. Both install what they need into .venv first.

PYTHON ?= python3
BIN := .venv/bin
MANAGE := DJANGO_SETTINGS_MODULE=config.tests.settings $(BIN)/python manage.py

.PHONY: run prod-local prod-local-test test check test-sqlite test-postgres test-slow test-faults bench lock messages

run: .venv/run.stamp
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python -m config.serve

prod-local: .venv/dev.stamp
	@$(BIN)/python deploy/local.py

prod-local-test: .venv/dev.stamp
	$(BIN)/pytest -m slow config/tests/test_prod_local.py

test: check test-sqlite test-postgres

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(MANAGE) check
	$(MANAGE) makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=config.tests.settings $(BIN)/python .ci/with_postgres.py $(BIN)/python manage.py lintmigrations --project-root-path . --quiet ok ignore
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	mkdir -p build
	$(MANAGE) spectacular --validate --fail-on-warn --format openapi-json --file build/schema.json

test-sqlite: .venv/dev.stamp
	$(BIN)/pytest -n 2 --cov --cov-report= --cov-fail-under=0

test-postgres: .venv/dev.stamp
	$(BIN)/python .ci/with_postgres.py $(BIN)/pytest -n 2 --cov --cov-append --cov-fail-under=95

# In a real browser, with clients made of the schema, in storms and with workers: what takes its time.
test-slow: .venv/dev.stamp
	$(BIN)/pytest -m slow -n 2 --dist loadfile $(SLOW)
	$(BIN)/python .ci/with_postgres.py $(BIN)/pytest -m "slow and not interface" -n 2 --dist loadfile $(SLOW)

# Kills, freezes and starves the service; FAULT_CYCLES says how often, WAVE_REGISTRATIONS how many sign up.
test-faults: .venv/dev.stamp
	$(BIN)/pytest faults -n 0 -s --show-capture=no $(FAULTS)

# Beside a reference written for speed alone, with wrk; BENCH says what else, BENCH_* how much: docs/performance.md.
bench: .venv/dev.stamp
	$(BIN)/python -m bench $(BENCH)

# A stamp tells what is installed: a second start looks at two dates and nothing else.
.venv/run.stamp: requirements.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev.stamp: requirements-dev.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@ .venv/run.stamp

lock: .venv/dev.stamp
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes --no-strip-extras $(UPGRADE) requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes --no-strip-extras $(UPGRADE) -c requirements.txt requirements-dev.in -o requirements-dev.txt

messages: .venv/dev.stamp
	$(BIN)/python manage.py makemessages --locale ru --no-location --no-wrap --ignore .venv --ignore node_modules
	$(BIN)/python .ci/compile_messages.py
