"""Monitor data, predictions, outcomes and business results, and decide what to do.

Nothing is imported here, so that the page, which only reads the ledger, does not load the measuring code.
"""
