"""Monitor the data, predictions, outcomes and business result of each tick, and decide what to do about them.

Nothing is imported here, so that the page, which only reads the ledger, does not load the measuring code.
"""
