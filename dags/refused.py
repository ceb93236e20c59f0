"""Declarations that were refused: this file's import error says which and why. The other use cases go on."""

from mlprod_airflow.installation import refusals

for refusal in refusals():
    raise refusal
