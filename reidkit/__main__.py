"""The command line: `reidkit`, or `python -m reidkit`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from reidkit import distributed
from reidkit.data import DatasetError
from reidkit.experiments import (
    GRID,
    SAN_GAL,
    Configuration,
    ParameterError,
    Profile,
    nearest,
    parameter_file,
    record_roots,
)
from reidkit.experiments import run as load_or_train
from reidkit.models.backbone import WeightsError
from reidkit.records import RecordError
from reidkit.training import CheckpointError, TrainingError

app = typer.Typer(
    help="Attention in person re-identification: data, runs, tables and checks behind the book.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data = typer.Typer(help="Render SynthPed; check a data set.", no_args_is_help=True)
app.add_typer(data, name="data")

ProfileArgument = Annotated[str, typer.Argument(help="a file of parameters/, or its name")]
Change = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a parameter of the profile; repeatable")
]


def changes(settings: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE arguments as parameters, the values read as YAML."""
    found = {}
    for setting in settings or []:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ParameterError(f"--set {setting}: expected KEY=VALUE")
        found[key.strip()] = yaml.safe_load(value)
    return found


@data.command()
def render(
    profile: ProfileArgument = "synthped",
    preset: Annotated[str | None, typer.Option(help="market-like, duke-like or msmt-like")] = None,
    seed: Annotated[int | None, typer.Option(help="which world is rendered")] = None,
    root: Annotated[Path | None, typer.Option(help="where to; where the profile's runs look unless given")] = None,
) -> None:
    """Render SynthPed in Market-1501's layout, with attribute files and part maps."""
    from reidkit.experiments import render_synthped

    options = {"synthped_preset": preset, "synthped_seed": seed}
    plan = Profile.read(profile, **{key: value for key, value in options.items() if value is not None})
    print(render_synthped(plan, root))


@data.command()
def check(
    name: Annotated[str, typer.Argument(help="market1501, dukemtmcreid, msmt17 or synthped")],
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
    cell: Annotated[
        list[str] | None,
        typer.Option(help="attention/loss, such as cbam/ce+tri+cir, or a run of SAN-GAL, such as ID+attr; repeatable"),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="repeatable; the profile's unless given")] = None,
    records: Annotated[Path | None, typer.Option(help="where to write records; build/records unless given")] = None,
    set_: Change = None,
) -> None:
    """Load the finished records of a profile's runs, or train what is missing. Interrupted runs are resumed.

    A run that outgrows a GPU: torchrun --nproc-per-node 4 -m reidkit run PROFILE. Each takes its share of every batch.
    """
    distributed.join()
    plan = Profile.read(profile, **changes(set_))
    chosen: Sequence[Configuration] = [*plan.configs(), *plan.san_gal_configs()]
    if cell or seed:
        cells = cell or dict.fromkeys(config.cell for config in chosen)
        chosen = [plan.any_config(name, number) for number in seed or (None,) for name in cells]
    for config in chosen:
        finished = load_or_train(config, records=records)
        shown = "  ".join(f"{key} {100 * value:.2f}" for key, value in finished.metrics.items())
        if distributed.rank() == 0:
            print(f"{finished.record.name}: {shown}")


@app.command()
def heatmaps(
    profile: ProfileArgument = "synthped",
    split: Annotated[
        list[str] | None, typer.Option(help="train, query or gallery; repeatable, all unless given")
    ] = None,
    set_: Change = None,
) -> None:
    """Store the attribute heat maps of a profile's images, training the attribute network first where it is missing."""
    from reidkit.experiments.san_gal import Classes, heat_map_folder, heat_maps

    plan = Profile.read(profile, **changes(set_))
    config = plan.attribute_config()
    wanted: list[tuple[str, Classes]] = [(name, "predicted") for name in ("train", "query", "gallery")]
    if plan.san_gal is not None and "labelled-classes" in plan.san_gal.readings:
        wanted.append(("train", "labels"))
    for name, classes in wanted:
        if not split or name in split:
            made = heat_maps(config, name, classes)
            print(f"{heat_map_folder(config, name, classes)}: {len(made):,} images, {made.nbytes / 1e6:.0f} MB")


@app.command()
def evaluate(
    profile: ProfileArgument,
    cell: Annotated[str, typer.Option(help="attention/loss, or a row of SAN-GAL; `reidkit cells` lists them")],
    seed: Annotated[int | None, typer.Option(help="the profile's first unless given")] = None,
    set_: Change = None,
) -> None:
    """Evaluate the stored weights of a finished run anew, on the data set as it is on this disk."""
    from reidkit.experiments import measure, open_dataset

    config = Profile.read(profile, **changes(set_)).any_config(cell, seed)
    dataset = open_dataset(config)
    query, gallery = config.features(dataset)
    _, metrics = measure(query, gallery, dataset)
    for name, value in metrics.items():
        print(f"{name:16s} {100 * value:6.2f}")


@app.command()
def table(
    number: Annotated[int, typer.Argument(min=1, help="of the paper's tables")],
    profile: ProfileArgument = "synthped",
    paper: Annotated[str, typer.Option(help="joint-loss or san-gal")] = "joint-loss",
) -> None:
    """Print a table of a paper beside the records, and the commands that would fill what is missing."""
    from reidkit.published import PAPERS
    from reidkit.report import tables

    if paper not in PAPERS:
        raise ParameterError(f"{paper!r} is none of the papers, {', '.join(PAPERS)}{nearest(paper, PAPERS)}")
    if number not in PAPERS[paper]:
        raise ParameterError(f"{paper} prints no table {number}; there are {', '.join(map(str, PAPERS[paper]))}")
    plan = Profile.read(profile)
    records = tables.records_of(plan) if paper == "joint-loss" else tables.san_gal_records(plan)
    for chosen in PAPERS[paper][number]:
        print(tables.as_text(chosen, records), end="\n\n")
        of_table = plan if paper == "joint-loss" else tables.plan_of(chosen, plan)
        if of_table is None:
            print(f"{plan.profile} has no companion on this data set.\n")
        elif missing := tables.missing_runs(chosen, of_table):
            print(f"Not run with {of_table.profile}. To fill it:")
            for config in missing:
                print(f"  {config.command(profile if of_table is plan else str(plan.companion))}")
            print()


@app.command()
def verify(
    record: Annotated[Path, typer.Argument(help="a record's folder, or its name")],
    other: Annotated[Path | None, typer.Argument(help="another record; the run is repeated unless given")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="in points of each metric")] = 0.0,
    data_root: Annotated[Path | None, typer.Option(help="of the data set, for a repetition on real data")] = None,
) -> None:
    """Compare a record with another, or with a repetition of its run, and say which metric moved."""
    from reidkit.experiments import repeat
    from reidkit.records import compare

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
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the executed .ipynb")] = None,
) -> None:
    """Execute a chapter with papermill; it is written only if every cell ran."""
    from reidkit.report.execute import execute_chapter

    Profile.read(profile)  # what is wrong with it is told before anything runs
    print(execute_chapter(chapter, parameter_file(profile), output or chapter.with_suffix(".ipynb")))


@app.command()
def pages(
    profile: ProfileArgument,
    toc: Annotated[Path, typer.Option(help="the book's table of contents")],
    source: Annotated[Path, typer.Option(help="the folder of the book's executed chapters")],
) -> None:
    """Write a page for every run behind the book, and the table of contents that lists them."""
    from reidkit.report.run_pages import write_pages

    for page in write_pages(Profile.read(profile), source, toc):
        print(page)


@app.command()
def cells() -> None:
    """List the cells of the ablation grid, which row of Table 1 each one is, and the runs of SAN-GAL."""
    for cell in GRID.values():
        print(f"{cell.name:20s} {cell.row or ''}")
    print("", *SAN_GAL, sep="\n")


def _find_record(record: Path) -> Any:
    from reidkit.records import read_record

    places = [record, *(root / record for root in record_roots())]
    for place in places:
        if (place / "record.json").is_file():
            return read_record(place)
    raise RecordError(f"{record}: no such record; looked in {', '.join(str(place) for place in places)}")


def main() -> None:
    """Runs the command line; the errors that a user can mend are told in words, with exit code 1."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, known_errors()):
            raise
        print(f"reidkit: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        print("reidkit: interrupted; the same command goes on from the last finished epoch", file=sys.stderr)
        raise SystemExit(130) from None


def known_errors() -> tuple[type[Exception], ...]:
    from reidkit.report.execute import NotebookError  # its imports take more than a second: only once one is needed

    return (
        ParameterError, DatasetError, RecordError, TrainingError, CheckpointError, WeightsError, NotebookError,
    )  # fmt: skip


if __name__ == "__main__":
    main()
