"""The rules of a declaration, one file per subject: each yields what is wrong, with the field and the remedy."""
