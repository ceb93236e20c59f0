"""Machine learning for tabular business data in production: every step, without Airflow."""
