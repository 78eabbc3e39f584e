"""A page for every run behind the book: its scores and curves, what decided them, and how to make them again."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from reidkit.listing import row_of_run
from reidkit.places import record_roots
from reidkit.profile import Profile
from reidkit.records import Record, read_records
from reidkit.report import words
from reidkit.report.charts import training_charts
from reidkit.report.display import Written
from reidkit.report.markup import markup
from reidkit.report.tables import provenance, told_apart
from reidkit.runs import find_record
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS

FOLDER = "runs"  # of the pages, beside the chapters


def shown_records(profile: Profile) -> dict[str, Record]:
    """By name, the records that a profile's book may show: its own, its companion's, and all published ones."""
    found = [record for config in planned(profile) if (record := find_record(config))]
    return {record.name: record for record in [*found, *read_records(record_roots()[1])]}


def planned(profile: Profile) -> list[Configuration]:
    """The runs of a profile and of its companion, and of the default, whose heat maps are shown where it has none."""
    plans = [plan for plan in (profile, profile.other()) if plan]
    if profile.dataset != "synthped" or "attributes" not in profile.systems:
        plans.append(Profile.read("synthped"))
    return [config for plan in plans for config in plan.configs()]


def overview(records: Iterable[Record]) -> pd.DataFrame:
    """A row per record: what was run, how it scored (in per cent, – where it ranks nothing), and where it is from."""
    records = list(records)
    table = provenance(records).drop(columns=["Commit", "torch"])  # of which each run's own page tells
    table["Device"] = table["Device"].str.replace(r", (\d+) threads?", r" ×\1", regex=True)  # for a narrow column
    for place, metric in enumerate(("mAP", "rank-1"), start=3):
        scores = (record.metrics.get(metric) for record in records)
        table.insert(place, words.LABELS[metric], ["–" if score is None else f"{100 * score:.2f}" for score in scores])
    return table


def write_pages(profile: Profile, source: Path, toc: Path) -> list[Path]:
    """Writes SOURCE/runs/NAME.md for every record of `shown_records`, with its files beside it.

    toc: the book's table of contents, whose copy SOURCE/_toc.yml lists the pages below the chapter `runs`.
    """
    folder = source / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    records = shown_records(profile)
    pages = []
    named = titles(records)
    for name, record in records.items():
        shutil.copytree(record.directory, folder / name)
        pages.append(folder / f"{name}.md")
        pages[-1].write_text(page(record, named[name]), encoding="utf-8")
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    for part in contents["parts"]:
        for chapter in part["chapters"]:
            if chapter["file"] == FOLDER:
                chapter["sections"] = [{"file": f"{FOLDER}/{name}"} for name in records]
    (source / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False), encoding="utf-8")
    return pages


def page(record: Record, title: str) -> str:
    """The page of one record, in MyST."""
    origin = record.provenance
    commit = origin.get("commit") or "unknown"
    made = {
        "Record": f"`{record.name}`",
        "Made": origin["created"],
        "Commit": f"`{commit}`" + (", with uncommitted changes" if origin.get("dirty") else ""),
        "Data": f"checksum `{origin['data'][:16]}…` over the names and sizes of all files",
        "Images": ", ".join(f"{count:,} {split}" for split, count in origin["images"].items()),
        "Parameters of the network": f"{origin['parameters']:,}",
        "Device": f"{origin['device']} ({origin['platform']})",
        "Seconds": ", ".join(f"{seconds:g} {step}" for step, seconds in origin["seconds"].items()),
        "Versions": ", ".join(f"{name} {v}" for name, v in {"Python": origin["python"], **origin["versions"]}.items()),
    }
    data = "" if record.config["dataset"] == "synthped" else " --data-root /path/to/the/data"
    files = ("record.json", *(f"{table}.csv" for table in record.tables))
    downloads = [f"{{download}}`{file} <{record.name}/{file}>`" for file in files]
    scores = [{"Metric": name, "Here": f"{100 * value:.2f}"} for name, value in record.metrics.items()]
    parts = [
        "---\nnosearch: true\n---",
        f"# {title}",
        "One of the {doc}`runs </runs>` behind this book.",
        "## Scores",
        "In per cent.",
        Written(pd.DataFrame(scores)).markdown(),
        "## Curves",
        markup("figures.html", style=markup("style.css"), figures=training_charts(record)),
        "## Where it was made",
        Written(pd.DataFrame({"What": list(made), "This run": list(made.values())})).markdown(),
        "## How to make it again",
        "`verify` repeats the run from its own parameters, at the commit above, and says which metric moved. On the "
        "same machine, with as many threads, none should.",
        f"```sh\ngit checkout {commit}\nreidkit verify {record.name}{data}\n```",
        "## Files",
        f"The record itself: {', '.join(downloads)}. Fractions there, not per cent.",
        "## Parameters",
        "What decided the numbers, beside the paper's setting as this book reads it: what the paper prints and, where "
        "it prints nothing, the declared choice.",
        Written(pd.DataFrame(_parameters(record.system, record.config))).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def titles(records: Mapping[str, Record]) -> dict[str, str]:
    """What each page is called: row, data and seed, and where that says the same of several runs, what differs."""
    apart = told_apart(records.values())
    found = {}
    for name, record in records.items():
        config = record.config
        toy = config["dataset"] == "synthped"
        data = f"SynthPed, {config['synthped_preset']}" if toy else words.DATASETS[config["dataset"]]
        found[name] = f"{row_of_run(name, record.system, config)} on {data}, seed {config['seed']}{apart[name]}"
    return found


def _parameters(system: str, config: Mapping[str, Any], of: str = "") -> list[dict[str, str]]:
    fields, paper = SYSTEMS[system].configuration.model_fields, SYSTEMS[system].paper
    rows = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            rows += _parameters(key, value, f"{key}.")
            continue
        rows.append(
            {
                "Parameter": f"`{of}{key}`",
                "This run": f"`{value}`",
                "Reading of the paper": f"`{paper[key]}`" if key in has_reading(system) else "",
                "Meaning": (fields[key].description or "") if key in fields else "",
            }
        )
    return rows


def has_reading(system: str) -> set[str]:
    """The settings of a system that belong to its method, so that what they are in its paper is a reading of it."""
    rows = SYSTEMS[system].rows
    readings: set[str] = set()
    for row, settings in rows.items():
        if varied := SYSTEMS[system].varied(row):
            readings |= {key for key, value in settings.items() if rows[varied[0]].get(key) != value}
    return {"weights", *words.titles(system), *readings}
