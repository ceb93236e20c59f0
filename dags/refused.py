"""Defines no DAG: its import error says which declarations were refused and why. The other use cases go on."""

from mlprod_airflow.installation import refusals

# Airflow imports only files that contain the words 'dag' and 'airflow'.
for refusal in refusals():
    raise refusal
