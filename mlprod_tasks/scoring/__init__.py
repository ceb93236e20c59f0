"""Score a tick, log predictions, and queue uncertain rows for people."""
