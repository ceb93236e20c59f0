"""A model at a glance: pictures of how it ranks, how far it can be believed, what it goes by, and what it is worth."""
