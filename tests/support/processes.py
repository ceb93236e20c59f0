"""New processes that need not import everything anew, and share nothing with the test's own: `PROCESSES.Process(...)`.

Each is forked from a server that has imported what steps need, and done nothing else. It has the variables with which the
server was started, not those that a test has set since.
"""

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
# There is one server for all tests of a process, so there is one list; what is not on it is imported by the process itself.
PROCESSES.set_forkserver_preload(
    [
        "mlflow", "lightgbm", "duckdb", "deltalake", "pandas", "sklearn.linear_model", "mlprod_tasks.workflows",
        "mlprod_tasks.training.search", "mlprod_tasks.training.train", "mlprod_tasks.platform.trial_runs",
        "mlprod_tasks.evaluation.evaluate", "mlprod_tasks.evaluation.gate", "mlprod_tasks.promotion.register",
        "mlprod_tasks.ingest.tables", "mlprod_tasks.ingest.loaded_expectations", "mlprod_tasks.scoring.score",
        "mlprod_tasks.scoring.collect", "mlprod_tasks.serving.run", "mlprod_tasks.monitoring.measure",
        "mlprod_tasks.monitoring.act",
    ]
)  # fmt: skip
