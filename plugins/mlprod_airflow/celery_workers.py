"""What Celery's workers run with: Airflow's own settings, and modules that are imported once for all tasks.

Named by AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS, and imported only then: it needs `pip install mlprod[celery]`. A worker forks
its processes after it has imported these modules; without that each task imports for seconds what it uses.
"""

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

PRELOADED = (
    "mlprod_tasks.ingest.loaded_expectations", "mlflow", "lightgbm", "duckdb", "deltalake", "pandas", "sqlalchemy",
    "llvmlite.binding", "matplotlib.pyplot", "sklearn.isotonic", "mlprod_tasks.ingest.tables", "mlprod_tasks.scoring.score",
    "mlprod_tasks.monitoring.measure", "mlprod_tasks.monitoring.act", "mlprod_tasks.notifications.decision_mails",
)  # fmt: skip

CONFIG = {**DEFAULT_CELERY_CONFIG, "imports": PRELOADED}
