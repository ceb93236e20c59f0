"""Pure functions of arrays: metrics, intervals, bins and distances."""
