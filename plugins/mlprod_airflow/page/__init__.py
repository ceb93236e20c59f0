"""The page about all pipelines inside Airflow's UI, served by Airflow's API server to whom Airflow lets in."""
