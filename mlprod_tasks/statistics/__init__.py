"""Pure functions on arrays: metrics, intervals, bins and distances."""
