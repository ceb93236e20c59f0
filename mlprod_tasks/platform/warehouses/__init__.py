"""Warehouses as sources: dialects by which SQLAlchemy writes their SQL, and the types that their drivers read.

They are only read from. Snowflake and BigQuery are read through ADBC as Arrow batches, each through a driver that is an extra.
"""
