"""The online store: what a request needs besides its own fields, a look-up away, in whole generations."""
