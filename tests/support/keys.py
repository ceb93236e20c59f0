"""The key of pseudonyms in tests."""

PSEUDONYM_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0123456789abcdef00fedcba987654321"
