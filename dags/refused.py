"""No DAG: this file's import error says which declarations were refused, and why. The other use cases go on."""

from mlprod_airflow.installation import refusals

# Airflow looks only into files that hold the words 'dag' and 'airflow'.
for refusal in refusals():
    raise refusal
