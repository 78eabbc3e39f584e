"""The command line: `reidkit`, or `python -m reidkit`. What is slow to import is imported by who needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.errors import UserError

if TYPE_CHECKING:
    from reidkit.profile import Profile
    from reidkit.records import Record

app = typer.Typer(
    help="Attention in person re-identification: data, runs, tables and checks behind the book.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Render SynthPed; check a data set.", no_args_is_help=True)
app.add_typer(data, name="data")

ProfileArgument = Annotated[str, typer.Argument(help="a file of parameters/, or its name")]
Change = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a parameter of the profile; repeatable")
]


DataRoot = Annotated[Path | None, typer.Option(help="the data set's folder; the profile's unless given")]
Rows = Annotated[
    list[str] | None,
    typer.Option("--row", "--cell", help="such as cbam/ce+tri+cir or ID+attr; repeatable; `reidkit rows` lists them"),
]


def read_profile(name: str, settings: list[str] | None = None, data_root: Path | None = None) -> "Profile":
    """A profile with KEY=VALUE arguments for parameters, the values read as YAML."""
    import yaml

    from reidkit.profile import Profile
    from reidkit.settings import ParameterError

    changes: dict[str, Any] = {}
    for setting in settings or []:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ParameterError(f"--set {setting}: expected KEY=VALUE")
        changes[key.strip()] = yaml.safe_load(value)
    if data_root is not None:
        changes["data_root"] = str(data_root)
    if changes.get("data_root") is not None:
        asked = Path(changes["data_root"]).expanduser().resolve()
        if not asked.is_dir():
            raise ParameterError(
                f"data_root: {asked} is not a folder; it was asked for, so nothing stands in its place"
            )
        changes["data_root"] = str(asked)
    return Profile.read(name, **changes)


@data.command()
def render(
    profile: ProfileArgument = "synthped",
    preset: Annotated[str | None, typer.Option(help="market-like, duke-like or msmt-like")] = None,
    seed: Annotated[int | None, typer.Option(help="which world is rendered")] = None,
    root: Annotated[Path | None, typer.Option(help="where to; where the profile's runs look unless given")] = None,
) -> None:
    """Render SynthPed in Market-1501's layout, with attribute files and part maps."""
    from reidkit.profile import Profile
    from reidkit.runs import render_synthped

    options = {"synthped_preset": preset, "synthped_seed": seed}
    plan = Profile.read(profile, **{key: value for key, value in options.items() if value is not None})
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
    seed: Annotated[list[int] | None, typer.Option(help="repeatable; the profile's unless given")] = None,
    records: Annotated[Path | None, typer.Option(help="where to write records; build/records unless given")] = None,
    data_root: DataRoot = None,
    set_: Change = None,
) -> None:
    """Load the finished records of a profile's runs, or train what is missing. Interrupted runs are resumed.

    A run that outgrows a GPU: torchrun --nproc-per-node 4 -m reidkit run PROFILE. Each takes its share of every batch.
    """
    from reidkit import distributed, runs
    from reidkit.places import record_roots

    distributed.join()
    plan = read_profile(profile, set_, data_root)
    chosen = plan.configs()
    if row or seed:
        rows = row or dict.fromkeys(planned.row for planned in plan.planned())
        chosen = [plan.config(name, number) for number in seed or (None,) for name in rows]
    for config in chosen:
        finished = runs.run(config, records=records)
        shown = "  ".join(f"{key} {100 * value:.2f}" for key, value in finished.metrics.items())
        if distributed.rank() == 0:
            origin = ""
            if finished.record.directory.parent == record_roots()[1]:
                origin = f"  (published; the data {'agree' if config.root.is_dir() else 'are not here'})"
            print(f"{finished.record.name}: {shown}{origin}")


@app.command()
def heatmaps(
    profile: ProfileArgument = "synthped",
    split: Annotated[
        list[str] | None, typer.Option(help="train, query or gallery; repeatable, all unless given")
    ] = None,
    data_root: DataRoot = None,
    set_: Change = None,
) -> None:
    """Store the attribute heat maps of a profile's images, training the attribute network first where it is missing."""
    from reidkit import runs

    plan = read_profile(profile, set_, data_root)
    config = plan.config("attributes")
    wanted: dict[tuple[str, runs.MapClasses], None] = {(name, "predicted"): None for name in runs.SPLITS}
    wanted |= {("train", guided.map_classes): None for guided in plan.configs() if guided.guide}
    runs.with_weights(config)
    for name, classes in wanted:
        if not split or name in split:
            made = runs.heat_maps(config, name, classes)
            print(f"{runs.heat_map_folder(config, name, classes)}: {len(made):,} images, {made.nbytes / 1e6:.0f} MB")


@app.command()
def evaluate(
    profile: ProfileArgument,
    row: Annotated[str, typer.Option("--row", "--cell", help="of a run that ranks; `reidkit rows` lists them")],
    seed: Annotated[int | None, typer.Option(help="the profile's first unless given")] = None,
    data_root: DataRoot = None,
    set_: Change = None,
) -> None:
    """Evaluate the stored weights of a finished run anew, on the data set as it is on this disk."""
    from reidkit import runs

    config = read_profile(profile, set_, data_root).config(row, seed)
    dataset = runs.open_dataset(config)
    query, gallery = runs.features(config, dataset)
    for name, value in runs.measure(query, gallery, dataset).items():
        print(f"{name:16s} {100 * value:6.2f}")


@app.command()
def table(
    number: Annotated[int, typer.Argument(min=1, help="of the paper's tables")],
    profile: ProfileArgument = "synthped",
    paper: Annotated[str, typer.Option(help="joint-loss or san-gal")] = "joint-loss",
) -> None:
    """Print a table of a paper beside the records, and the commands that would fill what is missing."""
    from reidkit.published import PAPERS
    from reidkit.report import rows, tables
    from reidkit.settings import ParameterError, nearest

    if paper not in PAPERS:
        raise ParameterError(f"{paper!r} is none of the papers, {', '.join(PAPERS)}{nearest(paper, PAPERS)}")
    if number not in PAPERS[paper]:
        raise ParameterError(f"{paper} prints no table {number}; there are {', '.join(map(str, PAPERS[paper]))}")
    plan = read_profile(profile)
    records = rows.records_of(plan, paper)
    for chosen in PAPERS[paper][number]:
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
    record: Annotated[Path, typer.Argument(help="a record's folder, or its name")],
    other: Annotated[Path | None, typer.Argument(help="another record; the run is repeated unless given")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="in points of each metric")] = 0.0,
    data_root: Annotated[Path | None, typer.Option(help="of the data set, for a repetition on real data")] = None,
) -> None:
    """Compare a record with another, or with a repetition of its run, and say which metric moved."""
    from reidkit.records import compare
    from reidkit.runs import repeat

    first = _find_record(record)
    second = _find_record(other) if other else repeat(first, data_root)
    moved = False
    for line in compare(first, second, tolerance / 100):
        moved |= not line.within
        print(
            f"{'ok   ' if line.within else 'MOVED'}  {line.metric:16s} {100 * line.first:8.4f} {100 * line.second:8.4f}"
            f"  {100 * (line.second - line.first):+.4f}"
        )
    raise typer.Exit(1 if moved else 0)


@app.command()
def notebook(
    chapter: Annotated[Path, typer.Argument(help="a text notebook, such as book/experiments.md")],
    profile: ProfileArgument = "synthped",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the executed .ipynb; in build/notebooks unless given")
    ] = None,
) -> None:
    """Execute a chapter with papermill; it is written only if every cell ran, and never over the chapter itself."""
    from reidkit.places import build_root
    from reidkit.profile import parameter_file
    from reidkit.report.execute import execute_chapter

    read_profile(profile)  # what is wrong with it is told before anything runs
    print(
        execute_chapter(
            chapter, parameter_file(profile), output or build_root() / "notebooks" / f"{chapter.stem}.ipynb"
        )
    )


@app.command()
def pages(
    profile: ProfileArgument,
    toc: Annotated[Path, typer.Option(help="the book's table of contents")],
    source: Annotated[Path, typer.Option(help="the folder of the book's executed chapters")],
) -> None:
    """Write a page for every run behind the book, and the table of contents that lists them."""
    from reidkit.report.chapters.runs import write_pages

    for page in write_pages(read_profile(profile), source, toc):
        print(page)


@app.command()
def publish(
    records: Annotated[list[Path], typer.Argument(help="records by their folder, their name or the hash it ends in")],
) -> None:
    """Put records where the book finds them, if anybody could repeat them: whole, of a clean commit, numbers only."""
    from reidkit import records as store
    from reidkit.places import record_roots

    for record in records:
        print(store.publish(_find_record(record), record_roots()[1]).directory)


@app.command()
def plan(
    profile: ProfileArgument = "synthped",
    as_json: Annotated[bool, typer.Option("--json", help="as the Snakefile reads it")] = False,
    data_root: DataRoot = None,
    set_: Change = None,
) -> None:
    """Say what has to be made for a profile's book: its runs, which of them are published, and what they need."""
    import json

    from reidkit import pipeline

    file = Path(profile) if profile.endswith((".yaml", ".yml")) else None
    found = pipeline.plan(read_profile(profile, set_, data_root), file)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for name, run in found["runs"].items():
        print(f"{'published' if run['published'] else 'to be made':11s} {name}")


@app.command("cells", hidden=True)
@app.command()
def rows() -> None:
    """List the rows of every system, and what Table 1 of the joint-loss paper calls those that it prints."""
    from reidkit.systems import SYSTEMS
    from reidkit.systems.joint_loss import GRID

    for system in SYSTEMS.values():
        print(f"{system.title}:")
        for row in system.rows:
            printed = GRID[row].row if row in GRID else None
            print(f"  {row:20s} {printed or ''}".rstrip())


def _find_record(record: Path) -> "Record":
    """A record by its folder, its name or the hash that its name ends in."""
    from reidkit.places import record_roots
    from reidkit.records import RecordError, read_record

    roots = record_roots()
    named = [path for root in roots for path in sorted(root.glob(f"*-{record}")) if record.name == str(record)]
    for place in (record, *(root / record for root in roots), *named):
        if (place / "record.json").is_file():
            return read_record(place)
    raise RecordError(f"{record}: no such record; looked here and in {' and '.join(map(str, roots))}")


def main() -> None:
    """Runs the command line; the errors that a user can mend are told in words, with exit code 1."""
    try:
        app()
    except UserError as error:
        print(f"reidkit: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        print("reidkit: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
