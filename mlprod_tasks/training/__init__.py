"""Make a model: assemble the training set, split it by time, search, fit, and record where it came from."""
