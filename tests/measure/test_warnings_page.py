"""The page on warnings has one section per code, and one row per reading."""

from __future__ import annotations

import re
from pathlib import Path

from microbench.records.record import Readings, WarningCode

PAGE = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text()


def test_each_code_has_a_section_that_says_what_to_do() -> None:
    sections = re.split(r"^###? ", PAGE, flags=re.MULTILINE)
    said = {section.partition("\n")[0]: section for section in sections}
    assert {code.value for code in WarningCode} <= set(said)
    assert [code.value for code in WarningCode if "**Do:**" not in said[code]] == []


def test_no_section_is_of_a_code_that_is_not_there() -> None:
    assert set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == {code.value for code in WarningCode}


def test_each_reading_has_a_row() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(Readings.__struct_fields__)
