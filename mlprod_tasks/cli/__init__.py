"""The command line: `mlprod ...`, one file per group of commands."""
