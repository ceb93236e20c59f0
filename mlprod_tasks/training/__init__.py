"""Train a model: assemble the training set, split it by time, search, fit, and record its provenance."""
