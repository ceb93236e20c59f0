"""Train a model: assemble the set, split it by time, search, fit, record provenance."""
