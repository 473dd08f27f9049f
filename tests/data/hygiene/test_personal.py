"""Personal data: what has its form and its checksum is masked, what has not is left, and no text takes long."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.hygiene import KINDS, PersonalData
from minitrain.data.hygiene.kinds import Kind, _is_phone_at_home
from minitrain.data.hygiene.personal import _plain, _spans
from minitrain.errors import ConfigError

pytest.importorskip("stdnum")
pytest.importorskip("phonenumbers")

DIGITS = st.text("0123456789", min_size=1, max_size=40)
EXAMPLES = {
    "email": ["a.b+c@example.org", "ÄRGER@müller.example", "a＠b.de", "x_y@sub.domain.co.uk"],
    "ip": ["8.8.8.8", "2001:4860:4860::8888"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB33BUKB20201555555555", "fr1420041010050500013m02606"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "４１１１１１１１１１１１１１１１"],
    "br.cpf": ["390.533.447-05"],
    "ch.ssn": ["756.9217.0769.85"],
    "cn.ric": ["360426199101010071"],
    "de.idnr": ["36 574 261 809"],
    "es.dni": ["54362315K", "54.362.315-K"],
    "es.nie": ["X-2482300W"],
    "fi.hetu": ["131052-308T"],
    "fr.nir": ["2 95 10 99 126 111 93"],
    "in_.aadhaar": ["2341 2341 2346"],
    "it.codicefiscale": ["RCCMNL83S18D969H"],
    "nl.bsn": ["111222333", "1112.22.333"],
    "pl.pesel": ["44051401359"],
    "se.personnummer": ["880320-0016"],
    "tr.tckimlik": ["17291716060"],
    "us.ssn": ["536-90-4399"],
    "phone": ["+49 30 901820", "0049 30 901820", "+1 (212) 555-2368", "+49 (0)30 901820"],
}
ALL = PersonalData()


def luhn(digits: str) -> int:
    """The check digit of ISO/IEC 7812, by its definition."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return -sum(value // 10 + value % 10 for value in doubled) % 10


def test_each_kind_has_an_example() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize(("kind", "example"), [(kind, one) for kind, some in EXAMPLES.items() for one in some])
@pytest.mark.parametrize("around", ["{}", "({}).", "see {}, please", "\n{}\n", "Nr.: {}; 7"])
def test_an_example_is_found_and_nothing_around_it(kind: str, example: str, around: str) -> None:
    text, found = PersonalData(kinds=(kind,)).mask(around.format(example))
    assert text == around.format(KINDS[kind].placeholder)
    assert found == Counter({kind: 1})
    assert example not in ALL.mask(around.format(example))[0]


@pytest.mark.parametrize(
    ("kind", "example"),
    [(kind, one) for kind, some in EXAMPLES.items() for one in some if kind not in ("email", "ip", "us.ssn", "phone")],
)
def test_with_another_last_digit_or_letter_it_is_none(kind: str, example: str) -> None:
    only = PersonalData(kinds=(kind,))
    last = max(place for place, character in enumerate(example) if character.isalnum())
    others = "0123456789" if example[last].isdigit() else "ABCDEFGHJK"
    wrong = [example[:last] + other + example[last + 1 :] for other in others if other != example[last].upper()]
    unchanged = sum(only.mask(text)[0] == text for text in wrong)
    assert unchanged >= len(wrong) - (kind == "card")


@settings(max_examples=30)
@given(st.integers(10**14, 10**15 - 1), st.integers(0, 9))
def test_a_card_number_needs_its_check_digit(beginning: int, last: int) -> None:
    digits = "4" + str(beginning)[1:]
    found = PersonalData(kinds=("card",)).mask(f"{digits}{last}")[0]
    assert (found == "<CARD>") == (last == luhn(digits + "0"))


@settings(max_examples=30)
@given(st.integers(0, 10**18 - 1), st.integers(2, 98))
def test_an_account_needs_its_check_digits(number: int, check: int) -> None:
    account = f"{number:018d}"
    right = 98 - int(account + "131400") % 97  # DE is 13 14
    found = PersonalData(kinds=("iban",)).mask(f"DE{check:02d}{account}")[0]
    assert (found == "<IBAN>") == (check == right)


@settings(max_examples=30)
@given(st.integers(0, 10**8 - 1), st.sampled_from("TRWAGMYFPDXBNJZSQVHLCKE"))
def test_a_dni_needs_its_letter(number: int, letter: str) -> None:
    found = PersonalData(kinds=("es.dni",)).mask(f"{number:08d}{letter}")[0]
    assert (found == "<ID>") == (letter == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23])


@settings(max_examples=30)
@given(st.integers(1, 10**9 - 1))
def test_a_bsn_needs_its_eleven_proof(number: int) -> None:
    digits = f"{number:09d}"
    total = sum((9 - place) * int(digit) for place, digit in enumerate(digits[:8])) - int(digits[8])
    assert (PersonalData(kinds=("nl.bsn",)).mask(digits)[0] == "<ID>") == (total % 11 == 0)


PIECES = st.sampled_from(
    [one for some in EXAMPLES.values() for one in some] + ["@", "+", "(", ".", "12", "0", "a", "é"]
)
JOINTS = st.sampled_from(["", " ", "-", ".", ",", "+", "\n", " - ", ":", "@"])


@settings(max_examples=40)
@given(st.lists(st.tuples(PIECES, JOINTS), max_size=8))
def test_what_was_masked_has_nothing_left_to_mask(parts: list[tuple[str, str]]) -> None:
    text = "".join(piece + joint for piece, joint in parts)
    for personal in (ALL, PersonalData(phone_regions=("US", "GB"))):
        once, found = personal.mask(text)
        assert personal.mask(once) == (once, Counter())
        assert sum(map(once.count, ("<EMAIL>", "<IP>", "<IBAN>", "<CARD>", "<ID>", "<PHONE>"))) == found.total()


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs", "Nd"], exclude_characters="@＠:"), max_size=60))
def test_a_text_without_digits_and_at_signs_stays(text: str) -> None:
    assert ALL.mask(text) == (text, Counter())


@pytest.mark.parametrize(
    "text",
    [
        "pi is 3.4111111111111111 here",
        "192.168.1.1 and 127.0.0.1 and ::1, version 1.2.3, 10:30:45, std::vector",
        "in 2023-01-15 10:30, pages 120-131",
        "user@localhost, @name",
        "(212) 555-2368",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert ALL.mask(text)[0] == text


def test_numbers_as_they_are_written_at_home_are_found_if_the_country_is_named() -> None:
    at_home = PersonalData(phone_regions=("US", "GB"))
    said = "at 2023-01-15 10:30 call (212) 555-2368 or 020 7946 0018, not 12345678"
    assert at_home.mask(said) == (
        "at 2023-01-15 10:30 call <PHONE> or <PHONE>, not 12345678",
        Counter({"phone": 2}),
    )
    assert PersonalData(kinds=("email",), phone_regions=("US",)).mask("212-555-2368")[0] == "212-555-2368"


@pytest.mark.parametrize(
    ("text", "region", "is_one"),
    [
        ("065938778408016", "DE", True),
        ("0535139332871158", "DE", False),  # one digit more than E.164 allows, though Germany's plan would take it
        ("12345-6789", "FR", False),  # the matcher takes it for something else
        ("027 0381030 875", "DE", False),  # one is in it, but it is none
    ],
)
def test_what_a_number_at_home_is(text: str, region: str, is_one: bool) -> None:
    assert _is_phone_at_home(text, (region,)) is is_one
    assert _is_phone_at_home(text, ("US", region)) is is_one
    assert not _is_phone_at_home(text, ())


def test_the_end_of_a_number_is_found_where_other_numbers_follow() -> None:
    assert ALL.mask("4111 1111 1111 1111 12 26")[0] == "<CARD> 12 26"
    assert ALL.mask("5 4111 1111 1111 1111")[0] == "5 <CARD>"
    assert ALL.mask("+49 30 901820 2023")[0] == "<PHONE>"
    assert ALL.mask("DE89 3704 0044 0532 0130 00 is it")[0] == "<IBAN> is it"
    assert ALL.mask("a@b.cc+d@e.ff")[0] == "<EMAIL>"


def test_signs_of_other_scripts_are_read_as_those_of_ascii() -> None:
    assert _plain("plain - 1") == "plain - 1"
    assert _plain("a\u00a0b\u2010c\u2212d\u0663e＠f．g＋h\u3000é") == "a b-c-d3e@f.g+h é"


def spans(text: str, pattern: str, is_one: Any, shortest: int = 1) -> list[tuple[int, int]]:
    return list(_spans(text, Kind("<X>", re.compile(pattern), shortest, is_one), ("US",)))


def test_a_number_is_tried_without_its_last_groups_unless_it_is_very_long() -> None:
    asked = []

    def is_one(text: str, regions: tuple[str, ...]) -> bool:
        asked.append((text, regions))
        return text in ("x", "x" * 62, "x" * 63)

    assert spans("x xx x", "x[x ]*", is_one) == [(0, 1), (5, 6)]
    assert asked[:3] == [("x xx x", ("US",)), ("x xx", ("US",)), ("x", ("US",))]
    assert spans("y" * 70 + "x xx", "x[x ]*", is_one) == [(70, 71)]
    assert spans("x" * 62 + " x", "x[x ]*", is_one) == [(0, 62), (63, 64)]
    assert spans("x" * 63 + " x", "x[x ]*", is_one) == []
    assert spans("x x", "x[x ]*", lambda text, regions: True, shortest=4) == []
    assert spans("x xx", "x[x ]*", lambda text, regions: len(text) < 4, shortest=1) == [(0, 1), (2, 4)]


def test_all_texts_of_a_record_are_masked_and_nothing_else() -> None:
    row = {"text": "a@b.de", "more": [{"to": "c@d.de", "n": 4111111111111111}, None, True], "label": "x"}
    masked, found = ALL.mask_all(row)
    assert masked == {"text": "<EMAIL>", "more": [{"to": "<EMAIL>", "n": 4111111111111111}, None, True], "label": "x"}
    assert found == Counter({"email": 2})
    assert row["text"] == "a@b.de"


HOSTILE = {
    "letters": "a",
    "digits": "1",
    "single digits": "1 ",
    "pairs": "11 ",
    "at signs": "a@",
    "dots": "a.",
    "domain": "b.",
    "colons": ":",
    "hexadecimal": "aa:",
    "plus": "+1",
    "cards": "4111111111111111,",
    "addresses": "a@b.cc+",
    "phones": "+4930901820",
    "accounts": "AA11 ",
    "parentheses": "(",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_the_time_is_proportional_to_the_text(piece: str) -> None:
    personal = PersonalData(phone_regions=("US",))
    personal.mask(piece * 100)

    def seconds(size: int) -> float:
        text = "a@" + piece * (size // len(piece))
        begin = time.process_time()
        personal.mask(text)
        return time.process_time() - begin

    assert seconds(12_000) < 8 * max(seconds(3_000), 0.02)


def test_digits_at_random_take_no_long_time() -> None:
    letters = random.Random(0)
    text = "".join(letters.choice("0123456789 .-+@a:") for _ in range(5_000))
    begin = time.process_time()
    ALL.mask(text)
    assert time.process_time() - begin < 5


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown kind of personal data 'e-mail': did you mean 'email'"):
        PersonalData(kinds=("e-mail",))
    with pytest.raises(ConfigError, match="phone region 'usa' must be a country of two capital letters"):
        PersonalData(phone_regions=("usa",))
