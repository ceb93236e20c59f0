# One image for every service of docker-compose.yaml but the database: the locked environment, the code, a user without rights.
FROM python:3.11-slim-bookworm

# LightGBM needs OpenMP's runtime; everything else comes as wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy

WORKDIR /opt/mlprod

# As `make install` does it: pip brings uv, uv brings the rest; both check hashes.
COPY requirements-uv.lock requirements.lock ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-uv.lock \
    && uv pip install --no-cache --python /opt/venv/bin/python --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY mlprod_tasks mlprod_tasks
# Editable, so that the code and requirements.lock lie side by side as in the repository: a model records the digests of both.
RUN uv pip install --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation -e . \
    && python -m compileall -q mlprod_tasks

COPY dags dags
COPY plugins plugins
COPY pipelines pipelines
COPY demo demo
COPY deploy deploy
COPY great_expectations great_expectations

# A new named volume takes the owner of the folder that it covers. The code stays root's: a task cannot change it.
RUN useradd --uid 10001 --create-home mlprod \
    && install --directory --owner mlprod --group mlprod \
        /opt/airflow /var/log/airflow /var/lib/mlprod /var/lib/lake /var/lib/mlflow /var/lib/outbox \
        great_expectations/uncommitted \
    && chown --recursive mlprod:mlprod great_expectations
USER mlprod

# Recorded with each model: the image holds neither git nor a repository to ask, and MLflow need not complain of that.
ARG GIT_COMMIT=""
ENV AIRFLOW_HOME=/opt/airflow \
    MLPROD_GIT_COMMIT=$GIT_COMMIT \
    GIT_PYTHON_REFRESH=quiet

CMD ["mlprod", "--help"]
