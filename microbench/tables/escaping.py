"""Texts as written in the terminal, markdown and LaTeX: names and messages may contain any character."""

from __future__ import annotations

import re
from collections.abc import Iterable

import rich.markup

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""The characters that a terminal obeys: they move its cursor, change its colours or the order of a line."""

MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~])")
"""The characters that mean something in GitHub's markdown, besides those of HTML."""

MAGIC = re.compile(r"@|:(?=//|[\w+\\-]+:)|www(?=\.)|#(?=\d)", re.IGNORECASE)
"""What GitHub makes a mention, a link, an emoji or a reference of, however it is escaped."""

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl needs another encoding of fonts
    "[": "{[}",  # after a row's end, it would begin an argument
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "µ": r"$\mu$",
    "°": r"$^\circ$",
    "·": r"$\cdot$",
    "≈": r"$\approx$",
    "★": r"$\star$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "’": "'",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
}
"""What is written for a character in LaTeX without any package."""


def visible(text: str) -> str:
    """Return a text with what a terminal would obey as Python's escapes; line breaks and tabs stay."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def escape(text: str) -> str:
    """Return a text as rich prints it: no markup, and nothing that a terminal obeys."""
    return rich.markup.escape(visible(text))


def markdown(text: str) -> str:
    """Return a text as GitHub shows it in a table's cell: no markup, HTML, mention, link, line break."""
    safe = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = MARKDOWN.sub(r"\\\1", safe)
    return MAGIC.sub(r"\g<0><!-- -->", escaped)


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a table in markdown, of cells that are markdown already."""
    return f"| {' | '.join(cells)} |"


def latex(text: str) -> str:
    """Return a text as LaTeX prints it; a character that needs a font of its own as its code, U+4E2D."""
    return "".join(map(_in_latex, " ".join(text.split())))


def _in_latex(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    is_latin = character.isascii() or (character.isalpha() and character < "ſ")
    return character if is_latin and character.isprintable() else f"U+{ord(character):04X}"
