"""What the tests' Airflows have in common."""

# Without this, DAG files that no test changes would be read again twice a minute: a parse of each. Not where a
# test waits for the mail about a task that was killed: its callback may wait for the next reading.
SETTINGS = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300"}
