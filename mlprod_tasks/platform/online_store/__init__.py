"""The online store: the values that a request needs in addition to its fields."""
