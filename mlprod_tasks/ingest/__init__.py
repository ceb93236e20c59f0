"""Load source rows into the lake: extract, convert, audit, quarantine, publish."""
