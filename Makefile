# What hooks, CI and people call. `make demo` is the whole story; `make test` is what must hold.
PYTHON ?= python3
BIN := .venv/bin
DB ?= sqlite
EXIT ?=
USE ?=

.PHONY: install demo test long hostile faults lint format bench docs dictionary lock clean

install: .venv/installed

# pip brings uv, uv brings the rest; all check hashes. The tests' S3 and Snowflake servers and Spark stand apart:
# the ones want older libraries than others, the other would be imported by MLflow. KubernetesExecutor is no part of the image.
.venv/installed: requirements.lock requirements-catboost.lock requirements-chart.lock requirements-kubernetes.lock requirements-s3-server.lock requirements-snowflake-server.lock requirements-spark.lock requirements-uv.lock requirements-warehouses.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements-catboost.lock -r requirements-chart.lock -r requirements-warehouses.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --target .venv/s3-server -r requirements-s3-server.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes --target .venv/snowflake-server -r requirements-snowflake-server.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --require-hashes --target .venv/spark -r requirements-spark.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --target .venv/kubernetes -r requirements-kubernetes.lock
	touch $@

# USE=household_spend shows another use case that ships than the flights.
demo: install
	$(BIN)/python -m demo --database $(DB) $(if $(USE),--use $(USE)) $(if $(EXIT),--exit)

# Tests start hundreds of processes: each would compile again what it imports, where Python is told to keep nothing compiled.
test long: export PYTHONDONTWRITEBYTECODE =

# Files side by side; those that run a real Airflow one after the other in one worker, which waits half of its time.
test: install
	$(BIN)/python -m pytest -n $(or $(WORKERS),3) -m 'not alone and not long'
	$(BIN)/python -m pytest tests/integration -m alone

# Every benchmark at its small size, and another use case's demo.
long: install
	$(BIN)/python -m pytest tests/benchmarks tests/integration -m long

# Hostile sources and requests, longer than in `make test`: random deliveries of every kind, files cut at every byte, a fuzzer.
hostile: install
	MLPROD_HOSTILE_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest tests/hostile tests/serving/test_fuzz.py

# Every step killed at seeded moments, or without disk, source, ledger, registry, mail server or right time, and run again.
# DB=postgres keeps ledger and registry in PostgreSQL.
faults: install
	$(BIN)/python -m benchmarks.recovery --trials $(or $(TRIALS),10) --seed $(or $(SEED),1) $(if $(filter postgres,$(DB)),--postgres)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python -m benchmarks

# The site, below build/docs. A warning is an error: a link that leads nowhere, a page that loads something from another host.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@echo "build/docs/index.html"

# A test fails when this page is stale.
dictionary: install
	$(BIN)/mlprod dictionary flight_delays > docs/flight_delays.md

# Locks hold hashes and no address: where packages come from is the machine's business.
lock: install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra celery --extra dev --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	for group in catboost chart kubernetes snowflake-server spark warehouses; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group $$group --no-deps \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements-$$group.lock; done
	echo 'uv==$(shell $(BIN)/uv --version | cut -d' ' -f2)' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links - -o requirements-uv.lock
	echo 'moto[s3] flask flask-cors' | tr ' ' '\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links - -o requirements-s3-server.lock

clean:
	rm -rf .venv var build dist *.egg-info
