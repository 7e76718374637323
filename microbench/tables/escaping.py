"""Texts as they are written in markdown and LaTeX: names and messages may contain any character."""

from __future__ import annotations

import re

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


def markdown(text: str) -> str:
    """Return a text as GitHub shows it in a table's cell: no markup, HTML, mention, link, line break."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = MARKDOWN.sub(r"\\\1", " ".join(safe.split()))
    return MAGIC.sub(r"\g<0><!-- -->", escaped)


def latex(text: str) -> str:
    """Return a text as LaTeX prints it; a character that needs a font of its own as its code, U+4E2D."""
    return "".join(map(_in_latex, " ".join(text.split())))


def _in_latex(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    is_latin = character.isascii() or (character.isalpha() and character < "ſ")
    return character if is_latin and character.isprintable() else f"U+{ord(character):04X}"
