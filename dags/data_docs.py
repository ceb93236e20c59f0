"""## Data docs

Builds Great Expectations' pages of all suites and of the newest audits, once a day and on request. It is a separate DAG because
a page takes seconds to build, and audits should not wait for that.
"""

from airflow.sdk import dag, task

from mlprod_airflow.installation import platform
from mlprod_tasks import steps


@task
def build() -> str:
    return str(steps.build_data_docs(platform()))


@dag("mlprod.data_docs", schedule="@daily", catchup=False, max_active_runs=1, doc_md=__doc__, tags=["mlprod"])
def data_docs() -> None:
    build()


data_docs()
