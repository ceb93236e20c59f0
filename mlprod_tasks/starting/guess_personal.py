"""Find columns that are likely personal: by their names, and by patterns of their values with check digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

TRIED, MOST = 2000, 0.8  # values that are looked at, and the share that must fit
WHOSE = "first|last|middle|full|given|family|sur|customer|client|patient|user|employee|contact|holder|person|birth|maiden"
NAMES = {
    "a name": rf"({WHOSE})_?names?|surname|forename|vorname|nachname|name_(first|last)",
    "a mail address": r"e_?mail(_?addr(ess)?)?|mail_?address",
    "a phone number": r"(tele|mobile_?|cell_?)?phone(_?(number|no|nr))?|tel|fax|mobile|telefon",
    "an address": r"(home_|street_?|postal_|billing_|shipping_)?address(_line)?(_?\d)?|street(_name)?|house_?(number|no)",
    "a day of birth": r"(date_of_birth|birth_?(date|day)|dob|geburtsdatum|born(_on)?)",
    "a number of a person or a card": (
        r"ssn|social_security(_number)?|passport(_?(number|no))?|tax_?id|national_id|(credit_?)?card_?(number|no)|iban|ahv"
    ),
    "an address of a device": r"ip(_?addr(ess)?)?|client_ip|mac_address",
}  # fmt: skip
MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
PHONE = re.compile(r"(\+|00)\d[\d\s()/.-]{6,18}\d|\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}")
IP = re.compile(r"(\d{1,3}\.){3}\d{1,3}")
IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{10,30}")
CARD = re.compile(r"\d{13,19}")


def personal(name: str, values: Sequence[object]) -> str:
    """What makes a column likely personal, for a comment; '' for no reason. values: some that are not missing."""
    texts = [str(value).strip() for value in values[:TRIED]]
    for what, fits in PATTERNS.items():
        if texts and sum(map(fits, texts)) >= MOST * len(texts):
            return f"its values look like {what}"
    for what, pattern in NAMES.items():
        if re.search(rf"(^|_)({pattern})$", name):
            return f"by its name, {what}"
    return ""


def is_iban(text: str) -> bool:
    """Whether the check digits of an IBAN fit (ISO 13616: modulo 97 is 1)."""
    text = text.replace(" ", "").upper()
    if not IBAN.fullmatch(text):
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether the check digit of a card's number fits (ISO/IEC 7812: the Luhn algorithm)."""
    text = text.replace(" ", "").replace("-", "")
    if not CARD.fullmatch(text) or len(set(text)) == 1:
        return False
    doubled = [int(sign) * (2 if i % 2 else 1) for i, sign in enumerate(reversed(text))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _is_ip(text: str) -> bool:
    return bool(IP.fullmatch(text)) and all(int(part) < 256 for part in text.split("."))


PATTERNS: dict[str, Callable[[str], bool]] = {
    "mail addresses": lambda text: bool(MAIL.fullmatch(text)),
    "IBANs, with right check digits": is_iban,
    "card numbers, with right check digits": is_card,
    "phone numbers": lambda text: bool(PHONE.fullmatch(text)),
    "addresses of devices": _is_ip,
}
