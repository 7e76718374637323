"""Names and messages in markdown and LaTeX."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from microbench.tables.escaping import latex, markdown

TEXTS = ["plain", "a_b*c*", "<b>&amp;</b>", "`x` | [y](z) ~s~ # {1}", "@you", "\\|", "a\nb", "50 % ±2 µs"]


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


def test_nobody_is_mentioned() -> None:
    assert re.search(r"@\w", markdown("@you and a@you")) is None


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
