"""Importing this module loads Great Expectations: for a process that tasks are forked from."""

from mlprod_tasks.ingest.expectations import load_great_expectations

load_great_expectations()
