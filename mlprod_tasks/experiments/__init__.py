"""Compare versions by what they do to the business: plan, assign, read out."""
