"""`microbench list` and `microbench --help`: the available names and options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from microbench import registry
from microbench.analysis import published_files
from microbench.config import MISSING, Config
from microbench.distribution import CONF, install_line
from microbench.errors import ExitCode, StoppedError, UserError, unknown
from microbench.options import catalog, libraries
from microbench.options.torchvision import torchvision_models
from microbench.records.settings import as_given
from microbench.schema import Scope, groups_of, options_of
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting

HELP = """\
[bold]microbench[/bold]: how fast does this model or layer train and infer here?

[bold]usage[/bold]  microbench model=NAME \\[option=value …]     measure one case
       microbench -m model=A,B option=V,W …       measure every combination
       microbench +experiment=NAME \\[option=V …]   run a preset, with published figures
       microbench compare A B | A --by OPTION     tell real differences from chance
       microbench show DIR                        print a run's result again
       microbench report PATH                     tables, pages and pictures of results
       microbench history PATH                    the same cases over many runs
       microbench export FORMAT PATH              the times in the formats of other tools
       microbench query SQL \\[PATH …]              ask the records in SQL
       microbench doctor                          what this machine can measure, and how to improve it
       microbench list \\[KIND]                     print the available names

[bold]examples[/bold]
  microbench model=vgg16 device=cpu mode=train
  microbench -m model=vgg16,resnet50 batch_size=1,8 mode=train,infer
  microbench -m 'model=glob(vgg*)' mode=infer
  microbench model=layer model.cls=torch.nn.GELU 'model.args=[]' 'model.input_shape=[1024]'
  microbench model.file=mine.py:Net 'model.inputs={x: [3,224,224]}'
  microbench +experiment=layer_phases model=dense,batchnorm
  microbench model=resnet50 mode=profile batch_size=1 view=types
  microbench -m model=mobilenet_v2 mode=layers mode.each=infer engine=eager,onnxruntime

[bold]exit codes[/bold]  0: all went well; 1: a case failed, or --fail-on applies; 2: the command line is
       invalid; 3: nothing to compare; 128 and the signal's number: a signal ended it (130: Ctrl-C)
"""


def options(group: str) -> list[str]:
    """Return the options of a group that have a file, by name."""
    return sorted(registry.files(group))


def layers() -> list[str]:
    """Return the names of the isolated layers."""
    files = registry.files("model")
    return [name for name in options("model") if _yaml(files[name]).get("source") == "layer"]


def models() -> list[str]:
    """Return the names of the models; one of the user's own has no name."""
    files = registry.files("model")
    own = {name for name in files if not {"source", "defaults"} & _yaml(files[name]).keys()}
    return sorted({*torchvision_models(), *files} - set(layers()) - own)


def of_library(library: str) -> list[str]:
    """Return the models of a library, as values of `model=`.

    Raises:
        StoppedError: it is not installed, or names no models.
    """
    known = libraries.models(library)
    if known is None:
        raise StoppedError(f"{library} is not installed: {install_line(library)}")
    if not known:
        raise libraries.broken(library)
    return [f"{library}/{name}" for name in sorted(libraries.names(library))]


@cache
def _yaml(path: Path) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load(path.read_text("utf-8"))
    return loaded


def groups() -> list[str]:
    """Return the names of all groups of options."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


PUBLISHED = "published"
KINDS = ("models", "layers", *(f"{group}s" for group in groups() if group != "model"), PUBLISHED)


def names(kind: str) -> list[str]:
    """Return every name of a kind: `models`, `layers`, a library, or a group's name with an s.

    Raises:
        UserError: there is no such kind.
    """
    special = {"models": models, "layers": layers, PUBLISHED: published_files.names}
    if kind in special:
        return special[kind]()
    if kind in libraries.LIBRARIES:
        return of_library(kind)
    if kind not in KINDS:
        raise unknown("kind to list", kind, (*KINDS, *libraries.LIBRARIES))
    return options(kind.removesuffix("s"))


def description(experiment: str) -> str:
    """Return a preset's description, which is at the beginning of its file."""
    lines = registry.files("experiment")[experiment].read_text("utf-8").splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next(text for text in comments if text and not text.startswith("@")).rstrip(".:")


def main(arguments: Sequence[str]) -> int:
    """`microbench list [KIND …]`: print the available names.

    `published` is printed as a table; after it, folders are of the user's tables.
    """
    from microbench.tables.terminal import console

    out = console(width_in_pipe=110)
    if PUBLISHED in arguments[:1]:
        from microbench.tables.published import show_tables

        folders = arguments[1:]
        if folders and folders[0].startswith("-"):
            raise UserError("Give the folder of tables itself: microbench list published DIR.")
        own = [table for each in folders for table in published_files.in_folder(Path(each))]
        show_tables(own if folders else published_files.ours(), out)
        return ExitCode.OK
    show_list(arguments, out)
    return ExitCode.OK


def show_list(kinds: Iterable[str], out: Console) -> None:
    """Print the names of the given kinds, or of all but libraries; for one kind in a pipe, one per line.

    Presets are printed with their descriptions.
    """
    chosen = list(kinds) or list(KINDS)
    for kind in chosen:
        names(kind)
    if len(chosen) == 1 and not out.is_terminal:
        out.print(escape("\n".join(_lines(chosen[0]))), soft_wrap=True)
        return
    for kind in chosen:
        out.print(f"[bold]{kind}[/bold]")
        print_fitting(out, _grid(kind))


def _lines(kind: str) -> list[str]:
    """Return the names of a kind as they are, a line each; those of presets with what they are."""
    found = names(kind)
    width = max(map(len, found))
    return [f"{name:{width}}  {description(name)}" for name in found] if kind == "experiments" else found


def _grid(kind: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    if kind == "models":
        known = names(kind)
        families = catalog.families(known)
        others = set(known).difference(*families.values())
        for family, members in {**families, "others": sorted(others)}.items():
            grid.add_row(f"  {family}", escape(", ".join(members)))
        for library in libraries.LIBRARIES:
            grid.add_row(f"  {library}/NAME", f"see `microbench list {library}`")
    elif kind == "experiments":
        for name in names(kind):
            grid.add_row(f"  {name}", escape(description(name)))
    else:
        grid.add_row("", escape(", ".join(names(kind))))
    return grid


def show_help(out: Console) -> None:
    """Print the usage, and the options with their values."""
    out.print(HELP)
    out.print("[bold]options[/bold], with their defaults")
    grid = Table.grid(padding=(0, 2))
    for group in groups():
        if group not in ("model", "experiment"):
            grid.add_row(f"  {group}={_default(group)}", escape(", ".join(options(group))))
    for key, default, meaning in explained():
        grid.add_row(f"  {key}={default}", escape(meaning))
    grid.add_row("  hydra.run.dir=DIR", "folder for the records; by default outputs/<time>-<random>")
    grid.add_row("  --tails", "add a table of percentiles: p50, p90, p95, p99, p99.9")
    grid.add_row(
        "  --csv, --json", "print the result for other programs, in SI units; --json: one object per line"
    )
    grid.add_row(
        "  --dry-run",
        "measure nothing: print the cases, and about how long they take (dry run of a profile: timing=false)",
    )
    print_fitting(out, grid)
    out.print("\n[bold]experiments[/bold], presets to add: +experiment=NAME")
    print_fitting(out, _grid("experiments"))
    out.print("\n[bold]models[/bold] (torchvision's, with random weights)")
    print_fitting(out, _grid("models"))
    out.print("\n[bold]layers[/bold], and model=layer for any other of torch.nn")
    print_fitting(out, _grid("layers"))
    out.print(
        "\nHydra's own: --cfg job shows a configuration, --config-dir DIR adds files, -sc install=bash "
        "completes names; --hydra-help"
    )


def explained(schema: type = Config) -> Iterator[tuple[str, str, str]]:
    """Yield key, default and help of each option that no file sets; those of groups last."""
    in_files = {group for group, each in groups_of(schema).items() if each["in_files"]}
    for key, each in sorted(options_of(schema).items(), key=lambda item: "." in item[0]):
        if key.partition(".")[0] not in in_files and each.name == key:
            yield key, as_given(each.default), each.explained


def markdown(schema: type = Config) -> str:
    """Return the table of all options in docs/options.md."""
    titles = ("option", "default", "meaning", "allowed", "about", "column")
    rows = [titles, ["---"] * len(titles)]
    for key, each in options_of(schema).items():
        default = "" if each.default in (MISSING, "") else f"`{as_given(each.default)}`"
        scope = "" if each.scope is Scope.ROUND else f", of a {each.scope.value}"
        column = f"`cfg_{each.axis}`" if each.axis else ""
        rows.append(
            [f"`{key}`", default, each.subject, each.what_is_allowed, each.role.value + scope, column]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _default(group: str) -> str:
    defaults = _yaml(CONF / "config.yaml")["defaults"]
    assert isinstance(defaults, list)
    return str(next(entry[group] for entry in defaults if isinstance(entry, dict) and group in entry))
