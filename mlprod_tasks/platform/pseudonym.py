"""The keyed hash that stands for a personal value, apart from Arrow: a request is answered without it."""

import hmac


def pseudonym(text: str, key: str) -> str:
    """Hash the text of one value: 64 hexadecimal digits of HMAC-SHA256, which nobody can guess without the key."""
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
