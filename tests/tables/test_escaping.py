"""Names and messages in markdown and LaTeX."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from rich.text import Text

from microbench.tables.escaping import escape, latex, markdown, visible

TEXTS = [
    "plain",
    "a_b*c*",
    "<b>&amp;</b>",
    "`x` | [y](z) ~s~ # {1}",
    "@you",
    "\\|",
    "a\nb",
    "50 % ±2 µs",
    "https://a.example www.a.example",
    ":a_b: 1:2:3 #12",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_renderer_shows_the_text_itself(text: str) -> None:
    html = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render(f"| x |\n| --- |\n| {markdown(text)} |\n")
    )
    (cell,) = re.findall("<td>(.*)</td>", html)
    shown = cell.replace("<!-- -->", "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("@you and a@you", r"@\w"),
        ("https://evil.example, ftp://evil.example", r"\w://"),
        ("www.evil.example WWW.evil.example", r"(?i)www\."),
        (":tada: :+1: :white_check_mark::e-mail:", r":[\w+\\-]+:"),
        ("#1 you/it#23", r"#\d"),
    ],
)
def test_nothing_is_a_mention_a_link_an_emoji_or_a_reference(text: str, meant: str) -> None:
    assert re.search(meant, text)
    assert re.search(meant, markdown(text)) is None


def test_what_means_nothing_is_left_alone() -> None:
    assert markdown("warning: 1:2, wwwx, a: b") == "warning: 1:2, wwwx, a: b"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & 5 % #1 $x", r"a\_b \& 5 \% \#1 \$x"),
        ("\\{x}~^", r"\textbackslash{}\{x\}$\sim$\textasciicircum{}"),
        ('<"[1]|', r"\textless{}''{[}1{]}\textbar{}"),
        ("±2 µs ×3", r"$\pm$2 $\mu$s $\times$3"),
        ("Zoë 中", "Zoë U+4E2D"),
        ("a\n\tb", "a b"),
    ],
)
def test_latex_prints_the_text_with_the_fonts_that_every_document_has(text: str, written: str) -> None:
    assert latex(text) == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("\r\b\x07\x00\x7f\x9b", "\\r\\x08\\x07\\x00\\x7f\\x9b"),
        ("\u202egnp", "\\u202egnp"),
        ("[bold]a[/bold]\x1b[bold]", "[bold]a[/bold]\\x1b[bold]"),
        ("a\tb\nünïcødé 中 ★ \\x1b", "a\tb\nünïcødé 中 ★ \\x1b"),
    ],
)
def test_a_terminal_shows_the_text_and_obeys_nothing_in_it(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert Text.from_markup(escape(text)).plain == shown
    assert not re.search("[\x00-\x1f\x7f-\x9f]", markdown(text))
