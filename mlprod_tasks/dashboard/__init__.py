"""The page about every pipeline, from the ledger: in the Airflow UI, and of one tick as a file."""
