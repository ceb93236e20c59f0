"""The documentation: its pages, and what generates the reference from the code."""
