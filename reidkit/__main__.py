"""The command line: `reidkit`, or `python -m reidkit`.

What takes seconds to import, as torch does, is imported by the command that needs it and after its arguments were
checked, so that help and mistakes are told at once.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.errors import in_words

if TYPE_CHECKING:
    import pandas as pd

    from reidkit.profile import Profile
    from reidkit.records import Record


OPTIONS = {  # that set a parameter
    "data_root": "--data-root",
    "device": "--device",
    "synthped_preset": "--preset",
    "synthped_seed": "--seed",
}

app = typer.Typer(
    help="Attention in person re-identification: data, runs, tables and checks behind the book.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Render SynthPed; check a data set.", no_args_is_help=True)
app.add_typer(data, name="data")


# ----------------------------------------------------------------------------------------------- what commands share


def _starting(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """For the shell's completion: those of the names that start as what was typed."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def _profiles() -> list[str]:
    from reidkit.places import project_root

    return sorted(file.stem for file in (project_root() / "parameters").glob("*.yaml"))


def _rows() -> list[str]:
    from reidkit.listing import listed_rows

    return [listed.row for listed in listed_rows()]


def _records() -> list[str]:
    from reidkit.places import record_roots
    from reidkit.records import folders

    names = [folder.name for folder in folders(record_roots())]
    return [*names, *(name.rpartition("-")[2] for name in names)]


class Format(StrEnum):
    """How a table is written."""

    text = "text"
    csv = "csv"
    json = "json"
    md = "md"
    latex = "latex"


_ROW = typer.Option("--row", "--cell", help="such as cbam/ce+tri+cir or ID+attr", autocompletion=_starting(_rows))
_SEED = {"min": 0, "max": 2**32 - 1}
_RECORD = typer.Argument(
    help="a record, by its folder, its name or the hash it ends in", autocompletion=_starting(_records)
)
ProfileArgument = Annotated[
    str, typer.Argument(help="a file of parameters/, or its name", autocompletion=_starting(_profiles))
]
Rows = Annotated[list[str] | None, _ROW]
RecordArgument = Annotated[str, _RECORD]
Change = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a parameter of the profile; repeatable")
]
DataRoot = Annotated[Path | None, typer.Option(help="the data set's folder; the profile's unless given")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda; the profile's unless given")]
FormatOption = Annotated[Format, typer.Option("--format", help="how it is written")]
TrainingData = Annotated[
    Path | None, typer.Option("--data-root", help="what the network was trained on; weights of older versions need it")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="a run, by its record, or a .safetensors file; the newest run with weights here unless given",
        autocompletion=_starting(_records),
    ),
]


def read_profile(
    name: str, settings: Iterable[str] | None = None, rows: Iterable[str] | None = None, **options: Any
) -> "Profile":
    """A profile with KEY=VALUE arguments for parameters, the values read as YAML; `rows` are checked beside it.

    `options` are those that set a parameter too, by its name; None where one was not given.
    """
    import yaml

    from reidkit.errors import nearest
    from reidkit.profile import Profile, read_yaml
    from reidkit.settings import ParameterError

    changes: dict[str, Any] = {}
    for setting in settings or ():
        key, separator, value = setting.partition("=")
        if not separator:
            raise ParameterError(f"--set {setting}: expected KEY=VALUE")
        try:
            changes[key.strip()] = read_yaml(value)
        except yaml.YAMLError as error:
            raise ParameterError(f"--set {setting}: not valid YAML: {error}") from error
    origins = dict.fromkeys(changes, "--set")
    for key, value in options.items():
        if value is not None:
            changes[key], origins[key] = str(value) if isinstance(value, Path) else value, OPTIONS[key]
    if isinstance(changes.get("data_root"), str):
        asked = Path(changes["data_root"]).expanduser().resolve()
        if not asked.is_dir():
            raise ParameterError(
                f"{origins['data_root']}: data_root: {asked} is not a folder; it was asked for, so nothing stands in "
                "its place"
            )
        changes["data_root"] = str(asked)
    for row in rows or ():
        if row not in (known := _rows()):
            raise ParameterError(
                f"--row: {row!r} is no row of any system{nearest(row, known)}; `reidkit rows` lists them"
            )
    return Profile.read(name, origins, **changes)


def _writable(folder: Path) -> bool:
    """Whether files can be written to a folder, which is made if it is not there."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.is_dir() and os.access(folder, os.W_OK)


def find_record(name: str) -> "Record":
    """A record by its folder, its name or the hash that its name ends in."""
    from reidkit.places import record_roots
    from reidkit.records import find, read_record

    return read_record(find(name, record_roots()))


def show(frame: "pd.DataFrame", form: Format) -> None:
    """Prints a table; as text with its columns aligned."""
    if form == Format.csv:
        print(frame.to_csv(index=False), end="")
    elif form == Format.json:
        print(frame.to_json(orient="records", indent=1, force_ascii=False))
    elif form == Format.latex:
        print(frame.to_latex(index=False, escape=True, float_format="%.2f"), end="")
    elif form == Format.md:
        known = frame.astype(object).where(frame.notna(), "–")
        cells = known.map(lambda value: f"{value:.2f}" if isinstance(value, float) else str(value))
        for line in ([*frame.columns], ["---"] * len(frame.columns), *cells.to_numpy().tolist()):
            print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |")
    else:
        print(frame.to_string(index=False, float_format="{:.2f}".format, na_rep="–"))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"reidkit {version('reidkit')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command."""


# ---------------------------------------------------------------------------------------------------- data and runs


@data.command()
def render(
    profile: ProfileArgument = "synthped",
    preset: Annotated[str | None, typer.Option(help="market-like, duke-like or msmt-like")] = None,
    seed: Annotated[int | None, typer.Option(**_SEED, help="which world is rendered")] = None,
    root: Annotated[Path | None, typer.Option(help="where to; where the profile's runs look unless given")] = None,
) -> None:
    """Render SynthPed in Market-1501's layout, with attribute files and part maps."""
    plan = read_profile(profile, synthped_preset=preset, synthped_seed=seed)
    from reidkit.runs import render_synthped

    print(render_synthped(plan, root))


@data.command()
def check(
    name: Annotated[
        str, typer.Argument(help="market1501, dukemtmcreid, msmt17, synthped, or own for pictures of yours")
    ],
    root: Annotated[Path, typer.Argument(help="the data set's folder, or the one that holds it")],
) -> None:
    """Compare a data set on disk with what its authors published; list every bad file."""
    from reidkit.data.check import check as check_dataset

    report = check_dataset(name, root)
    print(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def run(
    profile: ProfileArgument = "synthped",
    row: Rows = None,
    seed: Annotated[list[int] | None, typer.Option(**_SEED, help="repeatable; the profile's unless given")] = None,
    records: Annotated[Path | None, typer.Option(help="where to write records; build/records unless given")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="train what is published, too")] = False,
    with_weights: Annotated[
        bool, typer.Option("--with-weights", help="train again what has a record, but no weights on this machine")
    ] = False,
    data_root: DataRoot = None,
    device: Device = None,
    set_: Change = None,
    within: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="start only what will be done by then; exit code 75")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="with --within: train to the limit what is left")] = False,
    archive: Annotated[Path | None, typer.Option(help="a .tar.gz that holds all finished records at any time")] = None,
    time_only: Annotated[bool, typer.Option("--time-only", help="tell how long it would all take here")] = False,
) -> None:
    """Load the finished records of a profile's runs, or train what is missing. Interrupted runs are resumed.

    Exit code 0: all are there. 1: one failed; the others are not stopped by that. 75: --within left some. SIGTERM and
    Ctrl-C leave a checkpoint first.

    A run that outgrows a GPU: torchrun --nproc-per-node 4 -m reidkit run PROFILE. Each takes its share of every batch.
    """
    import time

    started = time.monotonic()
    plan = read_profile(profile, set_, row, data_root=data_root, device=device)
    from reidkit import distributed, queue, runs
    from reidkit.places import record_roots
    from reidkit.settings import ParameterError

    if partial and within is None:
        raise ParameterError("--partial: to which limit? Give one by --within MINUTES")
    if time_only and (within is not None or archive or records or fresh or with_weights):
        raise ParameterError("--time-only: it only tells the time of all rows; give it beside rows and seeds alone")
    if records is not None and not _writable(records):
        raise ParameterError(f"--records {records}: no folder that can be written to; name another")
    distributed.join()
    chosen = plan.configs()
    if row or seed:
        rows = row or dict.fromkeys(planned.row for planned in plan.planned())
        chosen = [plan.config(name, number) for number in seed or (None,) for name in rows]
    if time_only:
        raise typer.Exit(queue.measure(chosen))

    def show(finished: runs.Run) -> None:
        shown = "  ".join(f"{key} {100 * value:.2f}" for key, value in finished.metrics.items())
        origin = ""
        if finished.record.directory.parent == record_roots()[1]:
            origin = f"  (published; the data {'agree' if finished.config.root.is_dir() else 'are not here'})"
        print(f"{finished.record.name}: {shown}{origin}", flush=True)

    deadline = started + 60 * within if within is not None else float("inf")
    work = queue.Queue(
        chosen, records or record_roots()[0], archive, deadline, report=show, fresh=fresh, weights=with_weights
    )
    code = work.work(partial)
    if distributed.rank() == 0 and code:
        print(f"reidkit: {work.summary()}", file=sys.stderr)
    if code == queue.LEFT and work.signal is not None and within is None:
        code = 128 + work.signal  # as a shell tells of a process that a signal has ended
    raise typer.Exit(code)


@app.command()
def heatmaps(
    profile: ProfileArgument = "synthped",
    split: Annotated[
        list[str] | None, typer.Option(help="train, query or gallery; repeatable, all unless given")
    ] = None,
    data_root: DataRoot = None,
    device: Device = None,
    set_: Change = None,
) -> None:
    """Store the attribute heat maps of a profile's images, training the attribute network first where it is missing."""
    plan = read_profile(profile, set_, data_root=data_root, device=device)
    from reidkit import runs
    from reidkit.settings import MapClasses, ParameterError

    if unknown := set(split or ()) - set(runs.SPLITS):
        raise ParameterError(f"--split {unknown.pop()}: there is no such split; expected {', '.join(runs.SPLITS)}")
    config = plan.config("attributes")
    wanted: dict[tuple[str, MapClasses], None] = {(name, "predicted"): None for name in runs.SPLITS}
    wanted |= {("train", guided.map_classes): None for guided in plan.configs() if guided.guide}
    runs.with_weights(config)
    for name, classes in wanted:
        if not split or name in split:
            made = runs.heat_maps(config, name, classes)
            print(f"{runs.heat_map_folder(config, name, classes)}: {len(made):,} images, {made.nbytes / 1e6:.0f} MB")


@app.command()
def evaluate(
    profile: ProfileArgument,
    row: Annotated[str, _ROW],
    seed: Annotated[int | None, typer.Option(**_SEED, help="the profile's first unless given")] = None,
    data_root: DataRoot = None,
    device: Device = None,
    set_: Change = None,
) -> None:
    """Evaluate the stored weights of a finished run anew, on the data set as it is on this disk."""
    config = read_profile(profile, set_, [row], data_root=data_root, device=device).config(row, seed)
    from reidkit import runs
    from reidkit.settings import ParameterError
    from reidkit.systems import SYSTEMS

    if not SYSTEMS[config.system].ranks:
        raise ParameterError(f"{row}: it ranks nothing; name a run that does")
    if config.dataset == "synthped":
        runs.find_weights(config)  # or it is told before people are rendered in vain
    dataset = runs.open_dataset(config)
    query, gallery = runs.features(config, dataset)
    for name, value in runs.measure(query, gallery, dataset, config.metric).items():
        print(f"{name:16s} {100 * value:6.2f}")


# -------------------------------------------------------------------------------------------------- tables and records


@app.command()
def table(
    number: Annotated[int, typer.Argument(min=1, help="of the paper's tables")],
    profile: ProfileArgument = "synthped",
    paper: Annotated[str, typer.Option(help="joint-loss or san-gal")] = "joint-loss",
    form: FormatOption = Format.text,
) -> None:
    """Print a table of a paper beside the records, and the commands that would fill what is missing.

    csv and json: a line for each score, with interval, records and the data that they are on; the difference where
    these are the paper's. md and latex: as the book shows it.
    """
    from reidkit.errors import nearest
    from reidkit.published import PAPERS
    from reidkit.settings import ParameterError

    if paper not in PAPERS:
        raise ParameterError(f"{paper!r} is none of the papers, {', '.join(PAPERS)}{nearest(paper, PAPERS)}")
    if number not in PAPERS[paper]:
        raise ParameterError(f"{paper} prints no table {number}; there are {', '.join(map(str, PAPERS[paper]))}")
    plan = read_profile(profile)
    from reidkit.report import rows, tables
    from reidkit.report.verdicts import compare

    records = rows.records_of(plan, paper)
    if form in (Format.csv, Format.json):
        import pandas as pd

        data = {record.name: record.config["dataset"] for record in records}
        scores = [compare(chosen, records).assign(printed_on=chosen.dataset) for chosen in PAPERS[paper][number]]
        found = pd.concat(scores, ignore_index=True)
        found["data"] = [data[names[0]] if names else "" for names in found["records"]]
        found["difference"] = found["difference"].where(found["data"] == found["printed_on"])
        show(found.assign(records=found["records"].map(" ".join)) if form == Format.csv else found, form)
        return
    for chosen in PAPERS[paper][number]:
        if form != Format.text:
            from reidkit.report.display import without_roles

            show(tables.side_by_side(compare(chosen, records)).map(without_roles), form)
            continue
        print(tables.as_text(chosen, records), end="\n\n")
        of_table = rows.plan_of(chosen, plan)
        if of_table is None:
            print(f"{plan.profile} has no companion on this data set.\n")
        elif missing := rows.missing_runs(chosen, of_table):
            print(f"Not run with {of_table.profile}. To fill it:")
            for config in missing:
                file = profile if of_table is plan else plan.companion
                print(f"  {of_table.command(config.row_name, config.seed, file)}")
            print()


@app.command()
def verify(
    record: RecordArgument,
    other: Annotated[str | None, typer.Argument(help="another record; the run is repeated unless given")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="in points of each metric")] = 0.0,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Compare a record with another, or with a repetition of its run, and say which metric moved."""
    first = find_record(record)
    second = find_record(other) if other else None
    from reidkit import records, runs

    if second is None:
        second = runs.repeat(first, data_root, device=device)
    moved = False
    for line in records.compare(first, second, tolerance / 100):
        moved |= not line.within
        print(
            f"{'ok   ' if line.within else 'MOVED'}  {line.metric:16s} {100 * line.first:8.4f} {100 * line.second:8.4f}"
            f"  {100 * (line.second - line.first):+.4f}"
        )
    raise typer.Exit(1 if moved else 0)


@app.command()
def measure(
    records: Annotated[list[str], _RECORD],
    data_root: DataRoot = None,
) -> None:
    """Measure finished runs again from their weights, and write their records anew: for measures younger than they."""
    from reidkit import runs

    for record in records:
        print(runs.measure_again(find_record(record), data_root).directory)


@app.command()
def compare(
    first: RecordArgument,
    second: RecordArgument,
    queries: Annotated[int, typer.Option(min=0, help="how many that gained most, and lost most, are named")] = 5,
    form: FormatOption = Format.text,
) -> None:
    """Say what the second run gains over the first: mAP and rank-1, paired over the people, and which queries.

    csv, json, md and latex: a line for every query.
    """
    one, two = find_record(first), find_record(second)
    from reidkit.report.pair import pair, settings_apart

    scores, by_query = pair(one, two)
    if form != Format.text:
        show(by_query, form)
        return
    apart = settings_apart(one, two)
    print(f"first   {one.name}\nsecond  {two.name}\n\nThey differ in {'these settings:' if apart else 'no setting.'}")
    for key, values in apart.items():
        print(f"  {key}: {values[0]} / {values[1]}")
    print(f"\n{len(by_query):,} queries; per cent, gains in points with their 95 % interval, paired over the people:")
    show(scores, form)
    gains = by_query["gain"]
    print(
        f"\nOf the queries {(gains > 0).sum():,} gain, {(gains < 0).sum():,} lose, {(gains == 0).sum():,} do neither."
    )
    for title, ordered in (("gain", by_query[gains > 0]), ("lose", by_query[gains < 0][::-1])):
        if queries and len(ordered):
            print(f"\nThose that {title} most, by average precision:")
            show(ordered.head(queries), form)


@app.command("runs")
def list_runs(form: FormatOption = Format.text) -> None:
    """List the runs that are here: finished ones with their scores, published or not, and interrupted ones."""
    from reidkit.listing import listed_runs

    found = listed_runs()
    if not found and form == Format.text:
        print("No run is here yet: `reidkit run synthped --row none/ce` makes one.")
        return
    import pandas as pd

    frame = pd.DataFrame(found)
    show(frame.drop(columns="name") if form == Format.text else frame, form)


@app.command()
def notebook(
    chapter: Annotated[Path, typer.Argument(help="a text notebook, such as book/experiments.md")],
    profile: ProfileArgument = "synthped",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the executed .ipynb; in build/notebooks unless given")
    ] = None,
    data_root: DataRoot = None,
    device: Device = None,
    set_: Change = None,
) -> None:
    """Execute a chapter with papermill; it is written only if every cell ran, and never over the chapter itself."""
    # What is wrong with the profile is told before anything runs.
    plan = read_profile(profile, set_, data_root=data_root, device=device)
    from reidkit.places import build_root
    from reidkit.profile import parameter_file
    from reidkit.report.execute import execute_chapter

    folder, file = build_root() / "notebooks", parameter_file(profile)
    if data_root or device or set_:
        file = folder / f"{plan.profile}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(plan.as_yaml(), encoding="utf-8")
    print(execute_chapter(chapter, file, output or folder / f"{chapter.stem}.ipynb"))


@app.command()
def pages(
    profile: ProfileArgument,
    toc: Annotated[Path, typer.Option(help="the book's table of contents")],
    source: Annotated[Path, typer.Option(help="the folder of the book's executed chapters")],
) -> None:
    """Write a page for every run behind the book, and the table of contents that lists them."""
    plan = read_profile(profile)
    from reidkit.report.chapters.runs import write_pages

    for page in write_pages(plan, source, toc):
        print(page)


@app.command()
def publish(
    records: Annotated[list[str], _RECORD],
) -> None:
    """Put records where the book finds them, if anybody could repeat them: whole, of a clean commit, numbers only."""
    from reidkit import records as store
    from reidkit.places import record_roots

    for record in records:
        print(store.publish(find_record(record), record_roots()[1]).directory)


@app.command()
def plan(
    profile: ProfileArgument = "synthped",
    as_json: Annotated[bool, typer.Option("--json", help="as the Snakefile reads it")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="as if nothing were published")] = False,
    data_root: DataRoot = None,
    set_: Change = None,
) -> None:
    """Say what has to be made for a profile's book: its runs, which of them are published, and what they need."""
    import json

    read = read_profile(profile, set_, data_root=data_root)
    from reidkit import pipeline
    from reidkit.places import record_roots

    found = pipeline.plan(read, Path(profile) if profile.endswith((".yaml", ".yml")) else None, fresh)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    finished = record_roots()[0]
    if not found["runs"]:
        print(f"Nothing: no run of {read.profile} is published, and with train_missing: false none is made.")
    for name, run in found["runs"].items():
        made = "finished" if (finished / name / "record.json").is_file() and not fresh else "to be made"
        print(f"{'published' if run['published'] else made:11s} {name}")


@app.command("cells", hidden=True)
@app.command()
def rows() -> None:
    """List the rows of every system, what Table 1 of the joint-loss paper calls them, and on which data they ran."""
    from reidkit.listing import listed_rows, listed_runs

    run: dict[str, dict[str, int]] = {}
    for found in listed_runs():
        if found["state"] in ("finished", "published"):
            of_row = run.setdefault(found["row"], {})
            of_row[found["data"]] = of_row.get(found["data"], 0) + 1
    title = None
    for listed in listed_rows():
        if listed.title != title:
            title = listed.title
            print(f"{title}:")
        here = ", ".join(f"{data} ({count})" for data, count in run.get(listed.row, {}).items())
        print(f"  {listed.row:40s} {listed.printed or '':20s} {here}".rstrip())


# ------------------------------------------------------------------------------------------------ one's own pictures


@app.command()
def embed(
    pictures: Annotated[Path, typer.Argument(help="a folder, whose subfolders are read too, or one picture")],
    weights: Weights = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="a .npz or .safetensors file")] = Path("features.npz"),
    data_root: TrainingData = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Write the features of one's own pictures under a trained network: run, pictures and features (N, D)."""
    from reidkit import embedding

    if not embedding.suffixed(out).parent.is_dir() or out.is_dir():
        raise embedding.EmbeddingError(f"--out {out}: cannot be written; name a file in a folder that is there")
    found = embedding.embed(pictures, weights, data_root=data_root, device=device, progress=True)
    found.save(out)
    count, dimensions = found.features.shape
    print(f"{out}: {count:,} pictures, {dimensions:,} numbers each, by {found.run}")
    _tell_unreadable(found.unreadable)


@app.command()
def search(
    query: Annotated[Path, typer.Argument(help="a picture, or a folder of pictures")],
    gallery: Annotated[Path, typer.Argument(help="the folder that is searched, or a file that `embed` wrote")],
    weights: Weights = None,
    k: Annotated[int, typer.Option("-k", min=1, help="how many are listed for each query")] = 10,
    data_root: TrainingData = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """List the pictures of a folder that are most like a given one, with their cosine similarities."""
    from reidkit import embedding
    from reidkit.records import RecordError

    if gallery.suffix in (".npz", ".safetensors"):
        among = embedding.Embedding.read(gallery)
    else:
        among = embedding.embed(gallery, weights, data_root=data_root, device=device, progress=True)
    try:
        asked = embedding.embed(query, weights or among.run, data_root=data_root, device=device)
    except RecordError as error:
        if weights:
            raise
        raise embedding.EmbeddingError(
            f"{gallery}: its features are of the run {among.run}, of which there is no record here; name the same "
            "weights by --weights FILE"
        ) from error
    for picture, matches in zip(asked.pictures, embedding.search(asked, among, k), strict=True):
        print(f"{picture} (by {among.run}):")
        for rank, match in enumerate(matches, start=1):
            print(f"{rank:4d}  {match.similarity:+.4f}  {match.picture}")
    _tell_unreadable({**asked.unreadable, **among.unreadable})


def _tell_unreadable(unreadable: Mapping[Path, str]) -> None:
    """Names what was left out; the exit code then tells that not all was done."""
    for reason in unreadable.values():
        print(f"reidkit: left out: {reason}", file=sys.stderr)
    if unreadable:
        raise typer.Exit(1)


def main() -> None:
    """Runs the command line; the errors that a user can mend are told in words, with exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a terminal has no letter for
    home = os.path.expanduser("~")
    # What no shell does, of --out=~/x or of a quoted '~/x'.
    sys.argv[1:] = [re.sub("^(--[a-z-]+=)?~(?=/|$)", lambda m: (m[1] or "") + home, a) for a in sys.argv[1:]]
    if "TORCHELASTIC_RUN_ID" in os.environ:  # of torchrun, whose processes would wait for one another for a day
        from reidkit.workers import end_with_parent

        end_with_parent()
    try:
        app()
    except Exception as error:
        words = in_words(error)
        if words is None:
            raise
        print(f"reidkit: {words}", file=sys.stderr)
        raise SystemExit(1) from error
    except SystemExit as end:
        if end.code == 130:  # typer's, of a KeyboardInterrupt
            print(
                "reidkit: interrupted; `reidkit run` goes on from the last checkpoint, if there is one", file=sys.stderr
            )
        raise


if __name__ == "__main__":
    main()
