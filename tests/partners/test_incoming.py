"""Reading mails: whatever is sent, it is read in a moment, never raises, and gives text that can be stored."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.comments import LONGEST_BODY, check_body
from partners.email.incoming import LEFT_OUT, NO_TEXT, ParsedMail, parsed
from partners.email.mime import MOST_PARTS
from partners.email.texts import text_of_html, without_quotes

HEAD = b"From: Cleo <cleo@customer.example>\r\nSubject: Hi\r\n"
TYPE = b"Content-Type: "
SECONDS = 3.0
"""Far more than any of these takes. What is quadratic takes minutes."""


def within_a_moment(raw: bytes) -> ParsedMail:
    started = time.monotonic()
    mail = parsed(raw)
    assert time.monotonic() - started < SECONDS
    check_body(mail.body)
    for text in (mail.body, mail.subject, mail.name, mail.sender, mail.message_id, *mail.recipients):
        assert "\x00" not in text
        text.encode()
    assert len(mail.message_id) <= 255
    return mail


def body_of(content: bytes, *, content_type: bytes = b"text/plain; charset=utf-8", more: bytes = b"") -> str:
    return within_a_moment(HEAD + TYPE + content_type + b"\r\n" + more + b"\r\n" + content).body


def parts(*contents: bytes, kind: bytes = b"mixed") -> bytes:
    """A multipart mail of parts that have headers of their own."""
    lines = b"".join(b"--b\r\n" + content + b"\r\n" for content in contents)
    return HEAD + TYPE + b'multipart/%s; boundary="b"\r\n\r\npreamble\r\n' % kind + lines + b"--b--\r\nepilogue"


def nested(depth: int) -> bytes:
    lines = (b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (each, each) for each in range(depth))
    return HEAD + b"".join(lines) + b"\r\nhello"


HOSTILE = {
    "10,000 nested multiparts": nested(10_000),
    "nested under one boundary": HEAD + (TYPE + b"multipart/mixed; boundary=b\n\n--b\n") * 300_000,
    "100,000 nested mails": HEAD + (TYPE + b"message/rfc822\r\n\r\n") * 100_000,
    "100,000 parts": parts(*[b"\r\nhi"] * 100_000),
    "a million empty parts": HEAD + TYPE + b"multipart/mixed; boundary=b\r\n\r\n" + b"--b\n" * 1_000_000,
    "a boundary that is none": HEAD + TYPE + b"multipart/mixed; boundary=b\r\n\r\n" + b"--bx" * 2_000_000,
    "200,000 headers": b"X: y\r\n" * 200_000 + b"\r\nhi",
    "a header of 9 MB": b"X: " + b"y\r\n " * 2_000_000 + b"\r\n" + HEAD + b"\r\nhi",
    "9 MB of soft line breaks": HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 3_000_000,
    "20 MB of Base64": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 5_000_000,
    "zeros": b"\x00" * 5_000_000,
    "blank lines": b"\n" * 5_000_000,
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_mail_takes_long(name: str) -> None:
    within_a_moment(HOSTILE[name])


UNITS = (
    *("<", "<!--", "<![CDATA[", "<?", "<a ", '<a "', "<a" + "a" * 20, "</", "&#9", "&amp", "<script>", "<blockquote>"),
    *("> ", "--\n", "On x\n", "On x wrote", "From: x\n", "Am " + "schrieb " * 40 + "\n", "On " + "wrote " * 60 + "\n"),
)


@pytest.mark.parametrize("kind", [b"html", b"plain"])
@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_long(kind: bytes, unit: str) -> None:
    text = (unit * (1_000_000 // len(unit))).encode()
    within_a_moment(HEAD + TYPE + b"text/" + kind + b"\r\n\r\n" + text)


@pytest.mark.parametrize(
    "unit", ["=?utf-8?q?a?= ", "=?utf-8?b?", "(", '"', "<", "<a@", "a@b,", "\\", "; a=", "; a*0*=", ";"]
)
def test_no_header_takes_long(unit: str) -> None:
    value = (unit * (500_000 // len(unit))).encode()
    for name in (b"From", b"To", b"Subject", b"References", b"Message-ID", b"Content-Type", b"Content-Disposition"):
        within_a_moment(name + b": text/plain; x" + value + b"\r\n\r\nhi")


CHARSETS = [b"utf-8", b"x-foo", b"idna", b"punycode", b"hex", b"unicode_escape", b"rot13", b"\x00", b"", b"a" * 999]


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_wrong_charset_is_guessed(charset: bytes) -> None:
    """Claimed UTF-8 or nonsense, written in Latin-1, or in UTF-8 whatever it claims; NULs are no text."""
    for name in ("latin-1", "utf-8"):
        content = "Gr\u00fc\u00dfe\x00 aus K\u00f6ln".encode(name)
        assert body_of(content, content_type=b"text/plain; charset=" + charset) == "Grüße aus Köln"


def test_charsets_are_known() -> None:
    assert body_of("Привет".encode("koi8-r"), content_type=b'text/plain; charset="KOI8-R"') == "Привет"
    assert body_of("こんにちは".encode("iso-2022-jp"), content_type=b"text/plain; charset=iso-2022-jp") == "こんにちは"
    mostly = "ä" * 50 + "\u20ac"
    assert body_of(mostly.encode() + b"\xff") == mostly + "\ufffd"


def test_headers_are_decoded() -> None:
    raw = (
        b"From: =?iso-8859-1?q?Zo=EB?= =?utf-8?b?IMOE?= <Zoe@Customer.example> (at work)\r\n"
        b"subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\t=?utf-8?q?_aus?= K\xc3\xb6ln =?x-foo?q?a?= =?utf-8?b?!?=\x00\r\n"
        b"\r\nhi"
    )
    mail = within_a_moment(raw)
    assert (mail.name, mail.sender) == ("Zoë Ä", "zoe@customer.example")
    assert mail.subject == "Grüße aus Köln a"


def test_a_header_cannot_smuggle_lines() -> None:
    mail = within_a_moment(b"From: a@b.example\r\nSubject: =?utf-8?q?a=0D=0ABcc:_c=00?=\r\n\r\nhi")
    assert mail.subject == "a Bcc: c"


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("a@b.example", "a@b.example"),
        ('"Doe, John" <J@B.example>', "j@b.example"),
        ("Doe, John <j@b.example>", "j@b.example"),
        ('"eve@evil.example" <j@b.example>', "j@b.example"),
        ("j@b.example, eve@evil.example", ""),
        ("j@b.example\r\nFrom: eve@evil.example", ""),
        ("<j@b.example> <eve@evil.example>", ""),
        ("j b@c", ""),
        ("undisclosed-recipients:;", ""),
    ],
)
def test_one_sender_or_none(sender: str, found: str) -> None:
    assert within_a_moment(f"From: {sender}\r\n\r\nhi".encode()).sender == found


def test_plain_text_is_preferred_and_attachments_are_set_aside() -> None:
    html = TYPE + b"text/html\r\n\r\n<p>No</p>"
    plain = TYPE + b"text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nWWVz\r\n"
    file = (
        TYPE + b"application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf\r\n\r\n%PDF"
    )
    note = TYPE + b"text/plain; name=notes.txt\r\n\r\nMy notes"
    mail = within_a_moment(parts(html, plain, file, note))
    assert mail.body == "Yes"
    assert [(each.file_name, each.content_type, each.content) for each in mail.attachments] == [
        ("Grüße.pdf", "application/pdf", b"%PDF"),
        ("notes.txt", "text/plain", b"My notes"),
    ]


def test_a_mail_without_text_says_so() -> None:
    picture = TYPE + b"image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAA="
    assert within_a_moment(parts(picture)).body == NO_TEXT
    assert body_of(b"") == body_of(b" \r\n\x00\r\n") == NO_TEXT
    assert body_of(b"<style>p {}</style><script>x()</script><!-- c -->", content_type=b"text/html") == NO_TEXT


def test_a_long_text_is_cut_with_a_word_about_it() -> None:
    assert body_of(b"x" * LONGEST_BODY) == "x" * LONGEST_BODY
    body = body_of("ü".encode() * (LONGEST_BODY + 1))
    assert len(body) == LONGEST_BODY
    assert body.endswith("ü" + LEFT_OUT)


def test_what_is_beyond_the_budget_is_left_out() -> None:
    mail = within_a_moment(parts(*[TYPE + b"image/png\r\n\r\nx"] * (MOST_PARTS + 50)))
    assert len(mail.attachments) == MOST_PARTS - 1


def test_html_is_read_as_people_see_it() -> None:
    html = (
        "<head><title>T</title></head><style>x</style><p>Dear&nbsp;team,<br>it <b>broke</b>:</p>"
        "<ul><li>one<li>two &lt;3</ul><script>alert(1)</script><div>Bye&#33; &#xD800;&#99999999999;</div>"
        "<blockquote>old<blockquote>older</blockquote></blockquote>"
    )
    assert text_of_html(html) == ("Dear team,\nit broke:\n\n- one\n- two <3\n\nBye! \ufffd\n\n> old\n> > older")


OLD = "> It is late.\n> Sorry."
ANSWERS = [
    ("Thanks!", "Thanks!"),
    (f"Thanks!\n\nOn Mon, Ada wrote:\n{OLD}", "Thanks!"),
    (f"Thanks!\n\nOn Mon, 1 Jan 2026 at 10:00, Ada\nAdmin <ada@acme.example>\nwrote:\n\n{OLD}", "Thanks!"),
    (f"Danke!\n\nAm 1.1.2026 um 10:00 schrieb Ada Admin:\n{OLD}", "Danke!"),
    (f"Merci !\n\nLe lun. 1 janv., Ada a écrit :\n{OLD}", "Merci !"),
    ("Thanks!\n\n-----Original Message-----\nFrom: Ada\nSent: Monday\n\nIt is late.", "Thanks!"),
    ("Thanks!\n\nFrom: Ada\nSent: Monday\nTo: Cleo\n\nIt is late.", "Thanks!"),
    ("Thanks!\n\nOn Mon, Ada wrote:\n\nIt is late.", "Thanks!"),
    (f"On Mon, Ada wrote:\n{OLD}\n\nThanks!", "Thanks!"),
    (f"{OLD}\n\nThanks!\n-- \nCleo", "Thanks!"),
    ("> Late?\n\nYes.\n\n> Sorry?\n\nNo.", "Yes.\n\n> Sorry?\n\nNo."),
    ("Thanks!\n-- \nCleo\n+1 234", "Thanks!"),
    ("-- \nCleo", "-- \nCleo".replace("-- ", "--")),
    (OLD, OLD),
    (f"On Mon, Ada wrote:\n{OLD}", f"On Mon, Ada wrote:\n{OLD}"),
    ("-----Original Message-----\nIt is late.", "-----Original Message-----\nIt is late."),
    ("On Monday it came.\nI wrote:\nnothing.", "On Monday it came.\nI wrote:\nnothing."),
    ("From: here on it fails.", "From: here on it fails."),
]


@pytest.mark.parametrize(("text", "new"), ANSWERS)
def test_only_what_is_new_is_kept(text: str, new: str) -> None:
    """Never nothing."""
    assert without_quotes(text) == new


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("> -\nabOn wrote:"), min_size=1, max_size=200))
def test_something_is_always_left(text: str) -> None:
    assert bool(without_quotes(text)) == bool(text.strip())


def test_broken_mails_are_read() -> None:
    """Three thousand mails with random bytes in random places."""
    whole = parts(
        TYPE + b'text/html; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+',
        TYPE + b"multipart/report; report-type=delivery-status; boundary=c\r\n\r\n--c\r\n",
        b"Content-Disposition: attachment; filename*1*=utf-8''x; filename*0=y\r\n\r\nx",
    )
    chance = random.Random(1)
    for _ in range(3_000):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 40)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        check_body(parsed(bytes(broken)).body)
