"""Watch data, predictions, outcomes and the business result of each tick, and decide what follows.

Nothing is imported here: what the page reads of the ledger needs none of what measuring needs.
"""
