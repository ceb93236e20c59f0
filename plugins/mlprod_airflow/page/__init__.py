"""The page about all pipelines inside Airflow's UI, served by Airflow's API server with Airflow's permissions."""
