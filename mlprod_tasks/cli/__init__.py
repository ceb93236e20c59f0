"""The command line `mlprod`: one file for each group of commands."""
