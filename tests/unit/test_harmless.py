"""Texts made visible: one notation, nothing lost, what people write left as it is; addresses without passwords."""

import json
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.messages.addresses import remember_settings, without_password
from pipeline_lib.messages.harmless import json_text, markdown_code, visible, visible_line

TEXTS = st.text(st.characters(exclude_categories=())) | st.text("<U+2021BE>\u202e\x1b\u200d👩💻\ufe0f")


@given(TEXTS)
def test_visible_text_holds_no_control_and_is_another_for_every_text(text: str) -> None:
    shown = visible(text)
    hidden = {char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    assert not hidden and "\u202e" not in shown
    shown.encode()
    back = shown
    for char in {char for char in text if f"<U+{ord(char):04X}>" in shown} - {"<"}:
        back = back.replace(f"<U+{ord(char):04X}>", char)
    assert back.replace("<U+003C>", "<") == text


@given(TEXTS)
def test_json_stays_the_same_data(text: str) -> None:
    written = json_text({"text": text})
    written.encode()
    assert json.loads(written) == {"text": text}
    assert not {char for char in written if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")} and "\u202e" not in written


@pytest.mark.parametrize(
    "text",
    [
        "x² − 3 = ½ → ∞",
        "中文，答案",
        "العربية עברית",
        "👩‍💻 👨‍👩‍👧 ❤️ 🏳️‍🌈 1️⃣ ☺︎",
        "a\tb\n  c",
        "\\boxed{<x>}",
        "naïve café",
        "\u00a0\u202f",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert visible(text) == text


def test_all_that_deceives_is_written_out() -> None:
    numbers = [
        *range(32),
        *range(0x7F, 0xA0),
        0xAD,
        0x61C,
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
    ]
    numbers += [0xFEFF, 0x3164, 0x115F, 0xFFA0, 0xFE00, 0xFE0F, 0xE0001, 0xE0041, 0xE0100, 0xD800, 0xDFFF, 0xFFF9]
    for number in numbers:
        assert visible_line(f"a{chr(number)}b") == f"a<U+{number:04X}>b"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("https://secret@host", "https://host"),
        ("https://me:se/cret@host/y", "https://host/y"),
        ("http://me:se@cret@host/y", "http://host/y"),
        ("postgresql+psycopg2://me:secret@host:5432/db", "postgresql+psycopg2://me@host:5432/db"),
        ("http://host/?token=secret&page=2", "http://host/?token=***&page=2"),
        ("http://host/?a=1&X-Amz-Signature=secret#x", "http://host/?a=1&X-Amz-Signature=***#x"),
        ("cannot reach 'http://me:secret@host/x': refused", "cannot reach 'http://host/x': refused"),
        ("HTTP://me:secret@host", "HTTP://host"),
        ("http://host:8080/data@main", "http://host:8080/data@main"),
        ("http://host/?num_tokens=4", "http://host/?num_tokens=4"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("max_tokens=5; me@host: a == b", "max_tokens=5; me@host: a == b"),
    ],
)
def test_addresses_are_shown_without_passwords(address: str, shown: str) -> None:
    assert without_password(address) == shown == without_password(shown)


def test_an_address_by_itself_may_hold_quotes_in_its_password() -> None:
    assert without_password("http://me:se'c\"ret@host/x", is_address=True) == "http://host/x"
    assert remember_settings(["""tracking.uri="http://me:se'cret@host" """.strip()]) == ['tracking.uri="http://host"']


@pytest.mark.parametrize(
    "text", ["a.-" * 60_000 + "=://", "http://a:" * 20_000, "?" + "key" * 60_000 + "=://", "&a" * 90_000 + "=://"]
)
def test_addresses_are_found_in_time_linear_in_the_text(text: str) -> None:
    started = time.process_time()
    without_password(text)
    assert time.process_time() - started < 5


def test_settings_keep_everything_but_passwords() -> None:
    assert remember_settings(["a.b='http://me:secret@host'", "c", 'd="e=f"']) == ["a.b='http://host'", "c", 'd="e=f"']


def test_code_in_markdown_cannot_be_left() -> None:
    assert markdown_code("a/b") == "`a/b`"
    assert markdown_code("a`b``c\nd") == "``` a`b``c<U+000A>d ```"
