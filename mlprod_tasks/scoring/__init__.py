"""Score a tick, keep what was predicted, and hand uncertain rows to people."""
