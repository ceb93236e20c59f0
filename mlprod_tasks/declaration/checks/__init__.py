"""The rules of a declaration, one file per subject; each yields its problems with the field and what to do."""
