"""Kinds of personal data: how each is written, and what tells a real one from other numbers.

Patterns only say where one may be. Each begins at a border, and either has a largest length or takes all characters of
a kind that stand together, so the time is proportional to the text. Then a check decides: the checksum of a number by
python-stdnum, the plan of a country's phone numbers by phonenumbers.

Borders are between letters or digits and other characters. A placeholder begins and ends with such another character,
so it makes no new border and hides none.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .filters import needed


class Kind(NamedTuple):
    """A kind of personal data.

    Attributes:
        placeholder: the text that is put in its place.
        pattern: where one may be. If the check refuses what was found, it is tried without its last groups.
        shortest: characters that one has at least.
        is_one: the check, given what was found and the countries whose phone numbers count.
    """

    placeholder: str
    pattern: re.Pattern[str]
    shortest: int
    is_one: Callable[[str, tuple[str, ...]], bool]


_CARDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|(?:5[06-9]|6\d)\d{10,17}"  # Maestro, Discover, UnionPay
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"  # American Express, Diners Club, JCB
)
"""Lengths and first digits that issuers of cards have (ISO/IEC 7812)."""


_IN_MAIL = r"\w.!#$%&'*+/=?^`{|}~\-"
_MAIL = re.compile(rf"(?<![{_IN_MAIL}])[{_IN_MAIL}]++@(?:[\w-]++\.)+[^\W\d_]{{2}}")


_PHONES = ("phonenumberslite", "phonenumbers", "finding phone numbers")
_LONGEST_PHONE = 15
"""Digits, by ITU-T E.164."""


def _is_mail(text: str, _regions: tuple[str, ...]) -> bool:
    """Whether there is an address in it. What is joined to it without a space is masked with it."""
    return _MAIL.search(text) is not None


def _is_address(text: str, _regions: tuple[str, ...]) -> bool:
    """Whether it is an address of the internet. Those of private networks lead to nobody."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_account(text: str, _regions: tuple[str, ...]) -> bool:
    return bool(_stdnum("iban").is_valid(text))


def _is_card(text: str, _regions: tuple[str, ...]) -> bool:
    luhn, digits = _stdnum("luhn"), "".join(filter(str.isdigit, text))
    return bool(_CARDS.fullmatch(digits) and luhn.is_valid(digits))


def _is_phone_abroad(text: str, _regions: tuple[str, ...]) -> bool:
    """Whether it is a number of the country that it begins with, after ``+`` or ``00``."""
    return _parsed("+" + text.lstrip("+0"), None)


def _is_phone_at_home(text: str, regions: tuple[str, ...]) -> bool:
    """Whether it is a number of one of the countries; the matcher knows dates and ranges of pages when it sees them."""
    matcher = needed(*_PHONES).PhoneNumberMatcher
    return sum(map(str.isdigit, text)) <= _LONGEST_PHONE and any(
        _parsed(text, region) and matcher(text, region).has_next() for region in regions
    )


def _parsed(text: str, region: str | None) -> bool:
    phonenumbers = needed(*_PHONES)
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(text, region)))
    except phonenumbers.NumberParseException:
        return False


def _national(module: str) -> Callable[[str, tuple[str, ...]], bool]:
    def is_one(text: str, _regions: tuple[str, ...]) -> bool:
        return bool(_stdnum(module).is_valid(text.replace(".", "")))

    return is_one


@functools.cache
def _stdnum(module: str) -> Any:
    return needed("python-stdnum", f"stdnum.{module}", "finding numbers with checksums")


def _number(pattern: str) -> re.Pattern[str]:
    """A pattern that begins and ends at the border of a word or number."""
    return re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])")


_NATIONAL = {
    "br.cpf": r"\d{3}[. ]?\d{3}[. ]?\d{3}[- ]?\d{2}",
    "ch.ssn": r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}",
    "cn.ric": r"\d{17}[\dXx]",
    "de.idnr": r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
    "es.dni": r"\d{2}[.]?\d{3}[.]?\d{3}[- ]?[A-Za-z]",
    "es.nie": r"[XYZxyz][- ]?\d{7}[- ]?[A-Za-z]",
    "fi.hetu": r"\d{6}[-+A-FU-Ya-fu-y]\d{3}[0-9A-Ya-y]",
    "fr.nir": r"[12] ?\d\d ?\d\d ?(?:\d\d|2[ABab]) ?\d{3} ?\d{3} ?\d\d",
    "in_.aadhaar": r"\d{4}[- ]?\d{4}[- ]?\d{4}",
    "it.codicefiscale": r"[A-Za-z]{6}[\dL-Vl-v]{2}[A-Za-z][\dL-Vl-v]{2}[A-Za-z][\dL-Vl-v]{3}[A-Za-z]",
    "nl.bsn": r"\d{9}|\d{4}[. ]\d{2}[. ]\d{3}",
    "pl.pesel": r"\d{11}",
    "se.personnummer": r"(?:\d\d)?\d{6}[-+]?\d{4}",
    "tr.tckimlik": r"\d{11}",
    "us.ssn": r"\d{3}-\d{2}-\d{4}",
}
"""National numbers by their module in python-stdnum. All but ``us.ssn``, which only has forbidden parts and needs its
hyphens here, have a checksum."""

KINDS: dict[str, Kind] = {
    "email": Kind("<EMAIL>", re.compile(rf"(?<![{_IN_MAIL}@])@*+[{_IN_MAIL}]++@[{_IN_MAIL}@]*[^\W_]"), 6, _is_mail),
    "ip": Kind(
        "<IP>",
        re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"),
        7,
        _is_address,
    ),
    "iban": Kind("<IBAN>", _number(r"[A-Za-z]{2}\d\d(?:[ -]?[A-Za-z0-9]){11,30}"), 15, _is_account),
    "card": Kind(
        "<CARD>", re.compile(r"(?<!\d)(?<!\D\d\.)(?=(?:\d[ -]?){12})\d{1,19}(?:[ -]\d{1,19}){0,6}(?!\d)"), 13, _is_card
    ),
    **{name: Kind("<ID>", _number(pattern), 9, _national(name)) for name, pattern in _NATIONAL.items()},
    "phone": Kind(
        "<PHONE>",
        re.compile(r"(?:\+|(?<![^\W_])00)[ ./()-]{0,3}\d{1,14}(?:[ ./()-]{1,3}\d{1,12}){0,7}(?![^\W_])"),
        7,
        _is_phone_abroad,
    ),
}
"""All kinds, in the order in which they are looked for: a card is no phone number."""
PHONE_AT_HOME = Kind(
    "<PHONE>",
    # No date such as 2025-12-31, with a time after it.
    re.compile(
        r"(?<![^\W_])(?!(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?(?!\d))"
        r"\(?\d{1,14}(?:[ ./()-]{1,3}\d{2,12}){0,5}(?![^\W_])"
    ),
    7,
    _is_phone_at_home,
)
"""Phone numbers as they are written at home, for countries that are asked for."""
