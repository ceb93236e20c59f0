"""Shared code of the DAG files: runs, connections, waits, mails and approvals in Airflow.

Each module is imported where it is needed: processes that the page starts need none of Airflow's operators, which take seconds
to import.
"""
