"""XML bodies: what rules see of them, and what is refused."""

from __future__ import annotations

import time
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.body import MAX_DEPTH, MAX_VALUES, UnreadableBodyError, read_body
from hookline.rules import Json

XML = "text/xml; charset=utf-8"


def nested(depth: int, leaf: str = "") -> bytes:
    return ("<a>" * depth + leaf + "</a>" * depth).encode()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("<a/>", {"a": None}),
        ("<a></a>", {"a": None}),
        ("<a> \n </a>", {"a": None}),
        ("<a>\n  paid </a>", {"a": "paid"}),
        ('<a id="1"/>', {"a": {"@id": "1"}}),
        ('<a id="1">x</a>', {"a": {"@id": "1", "#text": "x"}}),
        ("<a><b>1</b><c/></a>", {"a": {"b": "1", "c": None}}),
        ("<a><b>1</b><b>2</b><b/></a>", {"a": {"b": ["1", "2", None]}}),
        ("<a><b>1</b><c/><b>2</b></a>", {"a": {"b": ["1", "2"], "c": None}}),
        ("<a>x<b/>y</a>", {"a": {"b": None, "#text": "xy"}}),
        ("<a><![CDATA[<b>&]]></a>", {"a": "<b>&"}),
        ("<a>&lt;&gt;&amp;&quot;&apos;&#233;&#x20AC;</a>", {"a": "<>&\"'é€"}),
        ('<s:E xmlns:s="urn:x"><s:B y:z="1" xmlns:y="urn:y"/></s:E>',
         {"s:E": {"@xmlns:s": "urn:x", "s:B": {"@y:z": "1", "@xmlns:y": "urn:y"}}}),
        ("<!-- c --><?pi x?><a/><!-- d -->", {"a": None}),
        ('<?xml version="1.0" encoding="utf-8"?>\n<a>é</a>', {"a": "é"}),
        ("\ufeff<a/>", {"a": None}),
        ("<ä>ü</ä>", {"ä": "ü"}),
    ],
)  # fmt: skip
def test_xml_is_a_mapping(body: str, value: Json) -> None:
    assert read_body(body.encode(), XML) == value


@pytest.mark.parametrize("content_type", ["application/xml", "text/xml", "Application/SOAP+XML; a=b", "image/svg+xml"])
def test_it_is_known_by_its_content_type(content_type: str) -> None:
    assert read_body(b"<a/>", content_type) == {"a": None}


def test_json_that_is_called_xml_is_json() -> None:
    assert read_body(b' {"a": 1}', XML) == {"a": 1}
    with pytest.raises(UnreadableBodyError, match="not JSON"):
        read_body(b"<a/>", "application/xmlish")


LAUGHS = b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not XML: no element found"),
        (b"<a>", "not XML: no element found"),
        (b"<a></b>", r"not XML: mismatched tag \(line 1, column 6\)"),
        (b"<a/><b/>", "not XML"),
        (b'<a x="1" x="2"/>', "duplicate attribute"),
        (b"<a>&nbsp;</a>", "undefined entity"),
        (b"<a>\xff</a>", "not XML: not well-formed"),
        (b"<a>&#0;</a>", "not XML"),
        (b"<a>&#xD800;</a>", "not XML"),
        (LAUGHS, "a DTD"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', "a DTD"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "a DTD"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>', "encoding 'ISO-8859-1': send UTF-8"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "encoding 'utf-7'"),
        ("<a/>".encode("utf-16"), "not UTF-8"),
        ("<a/>".encode("utf-16-le"), "not UTF-8"),
        (nested(MAX_DEPTH + 1), "64 levels deep"),
        (nested(300_000), "64 levels deep"),
        (b"<r>" + b"<b/>" * MAX_VALUES + b"</r>", "50,000 values"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableBodyError, match=why):
        read_body(body, XML)


def depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def test_levels_are_those_of_what_it_becomes() -> None:
    assert depth(read_body(nested(MAX_DEPTH), XML)) == MAX_DEPTH
    lists = b"<a/><a>" * 31 + b"<leaf/>" + b"</a>" * 31
    assert depth(read_body(b"<r>" + lists + b"</r>", XML)) == MAX_DEPTH
    with pytest.raises(UnreadableBodyError, match="64 levels"):
        read_body(b"<r><s>" + lists + b"</s></r>", XML)


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" + b"&amp;" * 200_000 + b"</a>",
        b'<a x="' + b"&amp;" * 200_000 + b'"/>',
        b"<a " + b" " * 1_000_000 + b"/>",
        b"<a " + b"".join(b'x%d="" ' % number for number in range(100_000)) + b"/>",
        b"<r>" + b"<b/>x" * 199_000 + b"</r>",
        b"<a" + b"<" * 1_000_000,
        b"<!--" + b"-" * 1_000_000,
    ],
)
def test_a_mebibyte_takes_no_longer_than_its_length(body: bytes) -> None:
    began = time.process_time()
    with suppress(UnreadableBodyError):
        read_body(body, XML)
    # Quadratic time would be minutes.
    assert time.process_time() - began < 5


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,5}", fullmatch=True)
TEXTS = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\ufffe\uffff")).map(str.strip)


@given(NAMES, TEXTS, TEXTS)
def test_text_and_attributes_come_out_as_they_were(name: str, text: str, value: str) -> None:
    stripped = text.strip(" \t\r\n")
    written = f'<{name} a="{escape(value, {chr(34): "&quot;"})}">{escape(text)}</{name}>'
    members = {"@a": value, "#text": stripped} if stripped else {"@a": value}
    assert read_body(written.encode(), XML) == {name: members}


@given(st.binary() | st.text(alphabet="<>/a&;#x1!?-[]=\"' \n").map(str.encode))
def test_nothing_but_the_one_error_comes_out(body: bytes) -> None:
    try:
        read_body(body, "application/xml")
    except UnreadableBodyError as error:
        assert str(error)  # noqa: PT017 - whether it is raised is not the claim
