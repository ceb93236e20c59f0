"""The page that people look at: what the ledger says of every pipeline, in the Airflow UI and as a file."""
