"""The HTTP service: answers scoring requests."""
