"""The first fifteen minutes: try a use case over its history, in a folder of its own, without Airflow and without services."""
