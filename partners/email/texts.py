"""What somebody wrote: HTML as text, and a mail without what it quotes.

The standard library's html.parser is quadratic in unfinished tags: 200 kB of `<a ` keep it busy for minutes. These
patterns look at no character more than a few times.
"""

from __future__ import annotations

import html as entities
import re

_COMMENT = re.compile("<!--"), re.compile("-->")
_UNSEEN = tuple(
    (re.compile(rf"<{name}(?=[\s>/])", re.IGNORECASE), re.compile(rf"</{name}[^<>]{{0,50}}>?", re.IGNORECASE))
    for name in ("script", "style", "head", "title", "template")
)
_TAG = re.compile(r"<(?:(/?)([a-zA-Z][a-zA-Z0-9]{0,15})|[!?/])[^<>]*>")
_HUGE_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{8,};?")
_BLOCKS = frozenset(
    {
        *("address", "article", "blockquote", "body", "br", "center", "dd", "div", "dl", "dt", "fieldset", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section"),
        *("table", "td", "th", "tr", "ul"),
    }
)
_MANY_BLANKS = re.compile(r"\n{3,}")
MOST_QUOTES = 5


def text_of_html(html: str) -> str:
    """The text that a reader of an HTML mail sees, quoted blocks with `> ` before their lines."""
    for opening, closing in (_COMMENT, *_UNSEEN):
        html = _without(html, opening, closing)
    page, at = _Page(), 0
    for tag in _TAG.finditer(html):
        page.write(html[at : tag.start()])
        page.meet((tag[2] or "").lower(), closes=bool(tag[1]))
        at = tag.end()
    page.write(html[at:])
    return page.text


def _without(html: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    kept, at = [], 0
    while (start := opening.search(html, at)) is not None:
        kept.append(html[at : start.start()])
        stop = closing.search(html, start.end())
        if stop is None:  # nor is there one behind any later opening
            return "".join(kept)
        at = stop.end()
    return "".join([*kept, html[at:]])


class _Page:
    """Lines, as tags break them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0

    def write(self, piece: str) -> None:
        self._line.append(entities.unescape(_HUGE_ENTITY.sub("", piece)))

    def meet(self, name: str, *, closes: bool) -> None:
        if name in _BLOCKS:
            self._break()
        if name == "blockquote":
            self._quotes = max(0, self._quotes - 1) if closes else self._quotes + 1
        elif name == "li" and not closes:
            self._line.append("- ")

    def _break(self) -> None:
        line = " ".join("".join(self._line).split())
        self._line = []
        if line or (self._lines and self._lines[-1].strip("> ")):
            self._lines.append("> " * min(self._quotes, MOST_QUOTES) + line)

    @property
    def text(self) -> str:
        self._break()
        while self._lines and not self._lines[-1].strip("> "):
            self._lines.pop()
        return "\n".join(line.rstrip() for line in self._lines).strip()


LONGEST_MARKER = 500
_WROTE = re.compile(
    r"\s*(?:On|Am|Le|El|Il|Op|Den)\s.{5,300}?"
    r"(?:wrote|schrieb.{0,150}|a écrit|escribió|ha scritto|schreef.{0,150}|skrev.{0,150})\s*:\s*",
    re.IGNORECASE,
)
_BEGINS_MARKER = re.compile(r"\s*(?:On|Am|Le|El|Il|Op|Den)\s", re.IGNORECASE)
_ORIGINAL = re.compile(
    r"\s*-{2,20}\s*(?:Original Message|Ursprüngliche Nachricht|Message d['’]origine|Mensaje original|"
    r"Messaggio originale|Oorspronkelijk bericht|Forwarded message)\s*-{2,20}\s*",
    re.IGNORECASE,
)
_FROM = re.compile(r"\s*(?:From|Von|De|Da|Van)\s*:\s*\S", re.IGNORECASE)
_SENT = re.compile(r"\s*(?:Sent|Gesendet|Date|Datum|Envoyé|Enviado|Inviato|Verzonden)\s*:\s*\S", re.IGNORECASE)


def without_quotes(text: str) -> str:
    """What is new in a mail: without the mail that it answers, and without the signature.

    Quoted lines at the top and at the end go. Those in between, each with an answer below, stay. Where nothing would
    be left, all stays: too much is better than nothing.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    quoted = [line.lstrip().startswith(">") for line in lines]
    end = _end_of_answer(lines, quoted)
    kept = _trimmed(lines[:end], quoted[:end])
    kept = _without_signature(kept)
    found = _MANY_BLANKS.sub("\n\n", "\n".join(kept)).strip()
    return found or _MANY_BLANKS.sub("\n\n", "\n".join(lines)).strip()


def _end_of_answer(lines: list[str], quoted: list[bool]) -> int:
    """Where the old mail begins. A marker before `>` lines only counts as one of them: answers may follow below."""
    written = False
    for index, line in enumerate(lines):
        if quoted[index] or not line:
            continue
        length = _marker(lines, index)
        if length and _is_quoted_after(lines, quoted, index + length):
            quoted[index : index + length] = [True] * length
        elif length and written:
            return index
        else:
            written = True
    return len(lines)


def _marker(lines: list[str], index: int) -> int:
    """How many lines the introduction of an old mail takes here; 0 where there is none."""
    line = lines[index]
    if len(line) > LONGEST_MARKER:
        return 0
    if _ORIGINAL.fullmatch(line):
        return 1
    if _FROM.match(line) and any(_SENT.match(other[:100]) for other in lines[index + 1 : index + 4]):
        return 1
    if _BEGINS_MARKER.match(line):
        for length in (1, 2, 3):  # mail programs fold them
            joined = " ".join(lines[index : index + length])
            if len(joined) <= LONGEST_MARKER and _WROTE.fullmatch(joined):
                return length
    return 0


def _is_quoted_after(lines: list[str], quoted: list[bool], index: int) -> bool:
    while index < len(lines) and not lines[index]:
        index += 1
    return index < len(lines) and quoted[index]


def _trimmed(lines: list[str], quoted: list[bool]) -> list[str]:
    start, end = 0, len(lines)
    while start < end and (quoted[start] or not lines[start]):
        start += 1
    while end > start and (quoted[end - 1] or not lines[end - 1]):
        end -= 1
    return lines[start:end]


def _without_signature(lines: list[str]) -> list[str]:
    # Lines lost their blanks at the end: "-- " is "--" here.
    for index, line in enumerate(lines):
        if line == "--" and any(lines[:index]):
            return lines[:index]
    return lines
