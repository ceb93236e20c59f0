"""What the tests' Airflows have in common."""

# Without this, DAG files that no test changes would be read again twice a minute, which takes a tenth of a core.
SETTINGS = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300"}
