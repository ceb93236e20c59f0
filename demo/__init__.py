"""Run the whole system on one machine: a real Airflow, real data, real mail."""
