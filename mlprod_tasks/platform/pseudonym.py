"""The keyed hash that replaces a personal value.

It is a module of its own, so that the service need not import Arrow.
"""

import hmac


def pseudonym(text: str, key: str) -> str:
    """Hash one value: 64 hexadecimal digits of HMAC-SHA256, which cannot be guessed without the key."""
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
