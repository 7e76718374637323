"""Tables of the user's own: what is read, and how each mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from microbench.analysis.published_files import MOST_BYTES, in_folder
from microbench.errors import UserError

HEADER = "device,workload,variant,batch_size,quantity,value,unit"
ROWS = ["CPU,resnet18,eager,1,latency,40,ms", "CPU,resnet18,fast,1,latency,0.025,s"]
YAML = "quantities: {latency: inference}\nvariants: {eager: {}, fast: {engine: openvino}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one table."""
    write(tmp_path)
    return tmp_path


def write(folder: Path, *rows: str, header: str = HEADER, meaning: str = YAML) -> Path:
    (folder / "lab.csv").write_text("\n".join([header, *(rows or ROWS)]))
    (folder / "lab.yaml").write_text(meaning)
    return folder


def test_a_table_is_read_in_si_units_with_what_it_leaves_out(folder: Path) -> None:
    (table,) = in_folder(folder, ["resnet18"])
    assert [(each.value, each.unit) for each in table.figures] == [(0.04, "s"), (0.025, "s")]
    assert {(each.source, each.software, each.input_shape) for each in table.figures} == {("lab", "", "")}
    assert (table.name, table.baseline, table.models()) == ("lab", None, ["resnet18"])


def test_one_variant_needs_no_settings(folder: Path) -> None:
    header = HEADER.replace("variant,", "")
    (table,) = in_folder(
        write(folder, "CPU,vgg16,1,t,40,ms", header=header, meaning="quantities: {t: total}")
    )
    assert table.variants == {"": {}}


def test_a_file_that_a_spreadsheet_wrote_is_read(folder: Path) -> None:
    path = folder / "lab.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(in_folder(folder)[0].figures) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("CPU,resnet18,eager,1,latency,fast,ms", "lab.csv:2: value 'fast' is not a number above 0."),
        ("CPU,resnet18,eager,1,latency,nan,ms", "lab.csv:2: value 'nan' is not a number above 0."),
        ("CPU,resnet18,eager,1,latency,-1,ms", "lab.csv:2: value '-1' is not a number above 0."),
        (
            "CPU,resnet18,eager,one,latency,1,ms",
            "lab.csv:2: batch_size 'one' is not an integer of at least 1.",
        ),
        ("CPU,resnet18,eager,1,latency,1,mss", "Unknown unit in "),
        ("CPU,,eager,1,latency,1,ms", "lab.csv:2: workload is empty."),
        ("CPU,resnet18,eager,1,latency,1", "lab.csv:2 has another number of cells than the header."),
        ("CPU,resnet18,eager,1,latency,1,ms,1", "lab.csv:2 has another number of cells than the header."),
        ('CPU,"resnet18,eager,1,latency,1,ms', "is not CSV: unexpected end of data."),
        ("CPU,resnet18,eager,1,latency,1,images/s", "lab.csv: latency mixes units: 1/s, s."),
        ("CPU,resnet18,fast,1,latency,1,ms", "lab.csv:3 repeats the figure of line 2."),
    ],
)
def test_a_mistake_in_a_row_is_reported_with_its_line(row: str, words: str, folder: Path) -> None:
    with pytest.raises(UserError) as told:
        in_folder(write(folder, row, ROWS[1]))
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (HEADER.replace("device", "devise"), "'devise'. Did you mean device?"),
        (HEADER.replace("unit", "source"), "lab.csv lacks the column unit."),
    ],
)
def test_a_mistake_in_the_header_is_reported(header: str, words: str, folder: Path) -> None:
    with pytest.raises(UserError) as told:
        in_folder(write(folder, header=header))
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("meaning", "words"),
    [
        ("quantites: {latency: inference}", "lab.yaml: 'quantites'. Did you mean quantities?"),
        ("- a", "lab.yaml must be a mapping with the keys"),
        ("a: [", "lab.yaml is not YAML: "),
        ("variants: {eager: {}}", "lab.yaml lacks quantities"),
        (f"{YAML}baseline: eager", "lab.yaml: baseline must be one of variant"),
        (f"{YAML}baseline: {{variant: egaer}}", "'egaer'. Did you mean eager?"),
        (f"{YAML}workloads: {{resnet: resnet18}}", "'resnet'. Did you mean resnet18?"),
        (f"{YAML}notes: text", "lab.yaml: notes must be a list of texts."),
        (YAML.replace("inference", "inferense"), "'inferense'. Did you mean inference?"),
        (
            YAML.replace("inference", "inference images/s"),
            "in s, but 'inference images/s' here in 1/s",
        ),
        (YAML.replace("latency", "latancy"), "'latancy'. Did you mean latency?"),
        (YAML.replace("engine", "engin"), "'engin'. Did you mean engine"),
        (YAML.replace("openvino", "openvno"), "'openvno'. Did you mean openvino?"),
        (YAML.replace("engine: openvino", "layout: nhcw"), "Unknown layout 'nhcw'."),
        (YAML.replace("{engine: openvino}", "openvino"), "variants: fast must be settings such as"),
        ("quantities: {latency: inference}", "variants must give the settings of 'fast' too"),
    ],
)
def test_a_mistake_in_the_yaml_file_is_reported(meaning: str, words: str, folder: Path) -> None:
    with pytest.raises(UserError) as told:
        in_folder(write(folder, meaning=meaning))
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_an_unknown_model_is_reported_with_the_nearest_and_with_what_to_do(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'resnet18'. Did you mean resnet-18\?.*Map it in lab.yaml"):
        in_folder(folder, ["resnet-18"])
    write(folder, meaning=f"{YAML}workloads: {{resnet18: null}}")
    assert in_folder(folder, ["resnet-18"])[0].models() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\xff\x00", "is not UTF-8 text."),
        (bytes(10), "is not text: it contains NUL."),
        (bytes(MOST_BYTES + 1), "is too large for a table"),
        (b"", "lacks the column device."),
        (HEADER.encode(), "has no figures."),
    ],
)
def test_a_file_that_is_no_table_is_reported(content: bytes, words: str, folder: Path) -> None:
    (folder / "lab.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        in_folder(folder)


def test_a_folder_without_tables_is_reported(folder: Path) -> None:
    (folder / "lab.yaml").unlink()
    with pytest.raises(UserError, match=r"lab\.csv lacks lab\.yaml beside it"):
        in_folder(folder)
    (folder / "lab.csv").unlink()
    with pytest.raises(UserError, match="has no published tables"):
        in_folder(folder)
    (folder / "lab.yaml").write_text(YAML)
    with pytest.raises(UserError, match=r"Cannot read .*lab\.csv: No such file"):
        in_folder(folder)
    with pytest.raises(UserError, match="is not a folder of published tables"):
        in_folder(folder / "nowhere")
