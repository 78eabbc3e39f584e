"""What the declared rule says of printed tables, as frames for `numbered_table`, and what was run, as sentences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from reidkit.evaluation.bootstrap import RESAMPLES
from reidkit.listing import row_of_run
from reidkit.published import SETTINGS, Setting, Table
from reidkit.records import Record
from reidkit.report.display import Written, run_link
from reidkit.report.rows import PEOPLE, WIDENED, Estimate, Rows, Runs, of_data, query_scores, score
from reidkit.report.verdicts import compare, departures
from reidkit.report.words import DATASETS, LABELS, interval, number, phrases, signed
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS

HYPHEN = "\N{NON-BREAKING HYPHEN}"  # in a cell: a narrow column would break Rank-1 at a common one
# What an interval says in brackets, explained.
COVERS = {
    WIDENED: "*widened*: a row with one seed, widened by the spread between the seeds of the other rows",
    PEOPLE: "*people*: too few rows here have a second seed, and what the choice of the seed does is not covered",
}


def interval_cells(frame: pd.DataFrame, **options: Any) -> list[str]:
    """The intervals of a frame with columns low, high and covers, one for each line."""
    return [interval(*line, **options) for line in frame[["low", "high", "covers"]].itertuples(index=False)]


def side_by_side(comparison: pd.DataFrame) -> pd.DataFrame:
    """One row per method: paper and here for every metric, links to the runs, and the verdict where there is one."""
    rows = []
    for method, group in comparison.groupby("method", sort=False):
        row = {"Method": str(method)}
        for metric, paper, ours in zip(group["metric"], group["paper"], group["ours"], strict=True):
            row |= {f"{LABELS[metric]} paper": number(paper), f"{LABELS[metric]} here": number(ours)}
        row |= {"Verdict": _verdicts(group), "Record": " ".join(map(run_link, group["records"].iloc[0]))}
        rows.append(row)
    return pd.DataFrame(rows).drop(columns=_empty(comparison) + ([] if comparison["seeds"].any() else ["Record"]))


def _empty(comparison: pd.DataFrame) -> list[str]:
    """The columns in which nothing is judged: where no row has the paper's setting, the note below a table says so."""
    judged = set(comparison["verdict"]) - {"", "not run", "other setting"}
    return [] if judged else ["Verdict"]


def _verdicts(group: pd.DataFrame) -> str:
    kinds = group.groupby("verdict", sort=False)["metric"].agg(list)
    if len(kinds) == 1:
        return str(kinds.index[0])
    return "; ".join(f"{kind} ({', '.join(LABELS[metric] for metric in metrics)})" for kind, metrics in kinds.items())


def intervals(comparison: pd.DataFrame, metric: str | None = "mAP") -> pd.DataFrame:
    """One row per method: paper, here, 95 % interval, and where a row has the paper's setting, difference and verdict.

    metric None: a row per method and metric.
    """
    lines = comparison if metric is None else comparison[comparison["metric"] == metric]
    shown = pd.DataFrame(
        {
            "Method": lines["method"],
            **({"Score": lines["metric"].map(LABELS).str.replace("-", HYPHEN)} if metric is None else {}),
            "Paper": lines["paper"].map(number),
            "Here": lines["ours"].map(number),
            "95 % interval": interval_cells(lines),
            "Difference": lines["difference"].map(signed),
            "Verdict": lines["verdict"],
        }
    ).reset_index(drop=True)
    return shown.drop(columns=[*(empty := _empty(comparison)), *(["Difference"] if empty else [])])


def beside_runs(shown: Mapping[str, str], paper: Mapping[str | None, float], data: Mapping[str, Runs]) -> pd.DataFrame:
    """A line per row: mAP in the paper, and by data set what came out, with its 95 % interval and links to its runs.

    shown: what each row is called. paper: its mAP, where one is printed. Data sets without any run are left out.
    """
    lines = []
    data = {title: runs for title, runs in data.items() if runs}
    for row, name in shown.items():
        line = {"Row": name, "Paper": number(paper.get(row))}
        for title, runs in data.items():
            line |= {title: score_cell(score(runs, row)), "Seeds" + " " * len(line): seed_links(runs.get(row, ()))}
        lines.append(line)
    return pd.DataFrame(lines)


def score_cell(found: Estimate) -> str:
    """A score with its interval, – where it was not run."""
    return "–" if pd.isna(found.ours) else f"{number(found.ours, 1)} [{interval(found.low, found.high)}]"


def seed_links(records: Sequence[Record]) -> str:
    """The seeds of a row, each a link to its run, on one line."""
    return "\N{NO-BREAK SPACE}".join(run_link(record.name, str(record.config["seed"])) for record in records) or "–"


def setting_note(table: Table, records: Iterable[Record]) -> str:
    """One paragraph on what "here" is: seeds, queries, what intervals cover, departures from the paper's setting."""
    measured = Rows(of_data(table.dataset, records))
    run = {cell: seeds for cell, seeds in measured.items() if cell in table.cells}
    if not run:
        return "Here: not run."
    few, *_, many = sorted({len(seeds) for seeds in run.values()}) * 2
    counted = f"{few} to {many} seeds" if few < many else f"{few} seed{'s' if few > 1 else ''}"
    first = next(iter(run.values()))[0]
    note = f"Here: {counted} per row, {len(query_scores([first])):,} queries; intervals by bootstrap over the people "
    note += "sought and the seeds" if measured.spread.freedom else "sought alone"
    covers = dict.fromkeys(measured.score(cell)["mAP"].covers for cell in run)
    note += f" ({RESAMPLES:,} resamples){''.join(f'; {COVERS[kind]}' for kind in covers if kind)}. "
    other = dict.fromkeys(words for seeds in run.values() for words in departures(seeds[0], table))
    paper = (
        f"Departs from the paper's setting as read here: {'; '.join(other)}."
        if other
        else "The paper's setting, as read here."
    )
    return note + paper


def as_text(table: Table, records: Iterable[Record]) -> str:
    """A table for a console: paper beside here, then each metric with its interval, difference and verdict."""
    records = list(records)
    comparison = compare(table, records)
    parts = [f"Table {table.number} ({table.paper}): {table.title}", str(Written(side_by_side(comparison)))]
    run = comparison[comparison["seeds"] > 0]
    if len(run):
        parts += [f"{LABELS[metric]}\n{Written(intervals(run, metric))}" for metric in table.metrics]
    return "\n\n".join([*parts, setting_note(table, records)])


# ----------------------------------------------------------------------------------------------------------- settings


def settings(runs: Mapping[str, Configuration], printed: Sequence[Setting] = SETTINGS) -> pd.DataFrame:
    """What a paper prints of its settings, beside the settings of some runs of one kind: a column for each.

    Where it prints nothing, our reading stands in brackets.
    """
    system = next(iter(runs.values())).system
    reading = {"dataset": "synthped", **SYSTEMS[system].paper}

    def paper(setting: Setting) -> str:
        read = _chosen(system, setting, reading)
        return setting.printed or ("not printed" if read == "–" else f"not printed ({read})")

    return pd.DataFrame(
        {"Setting": setting.name, "Paper": paper(setting)}
        | {title: _chosen(system, setting, config.determinants) for title, config in runs.items()}
        for setting in printed
    )


# What runs here have in common where the paper prints nothing and no parameter says it.
_CHOICES = {
    "identification loss": "cross-entropy",
    "heat maps": "calculated offline",
    "momentum": "0.9",
    "where each attention module sits": "where its authors put it",
    "feature and distance of the retrieval": "after BNNeck, cosine",
    "convention of the average precision": "rectangular",
}


def _chosen(system: str, setting: Setting, values: Mapping[str, Any]) -> str:
    if setting.keys == ("dataset",):
        return DATASETS[values["dataset"]]
    if setting.keys == ("weights",):
        return values["weights"] or "none"
    if setting.name == "momentum" and values["optimizer"] != "sgd":
        return "–"
    words = "; ".join(phrase for key, phrase in phrases(system, values).items() if key in setting.keys)
    return words.replace(setting.name, "").strip() or _CHOICES.get(setting.name, "–")


# ----------------------------------------------------------------------------------------------- where records are from


def provenance(records: Iterable[Record]) -> pd.DataFrame:
    """Where each record comes from: one row per record, as strings."""
    rows, records = [], list(records)
    apart = told_apart(records)
    for record in records:
        origin = record.provenance
        commit = (origin.get("commit") or "unknown")[:8] + (" (changed)" if origin.get("dirty") else "")
        rows.append(
            {
                "Record": run_link(record.name),
                "Run": row_of_run(record.name, record.system, record.config) + apart[record.name],
                "Seed": str(record.config["seed"]),
                "Data": f"{record.config.get('synthped_preset') or record.config['dataset']} `{origin['data'][:8]}`",
                "Commit": f"`{commit}`",
                "torch": origin["versions"]["torch"],
                "Device": origin["device"],
                "Minutes": f"{sum(origin['seconds'].values()) / 60:.1f}",
            }
        )
    return pd.DataFrame(rows)


def told_apart(records: Iterable[Record]) -> dict[str, str]:
    """By name, what tells a record from others of its row, data and seed, such as `, sampling identities`."""
    alike: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        data = map(record.config.get, ("dataset", "synthped_preset", "seed"))
        alike.setdefault((row_of_run(record.name, record.system, record.config), *data), []).append(record)
    found = {}
    for group in alike.values():
        keys = dict.fromkeys(key for record in group for key in record.config)
        varied = [key for key in keys if len({repr(record.config.get(key)) for record in group}) > 1]
        for record in group:
            if len(varied) > 3:  # runs of other profiles: told by what the eye looks for, and by their hash
                size = "{image_height}×{image_width}".format_map(record.config)
                found[record.name] = f", {record.config['epochs']} epochs at {size}, {record.name[-8:]}"
            else:
                values = ((key, record.config.get(key)) for key in varied)
                found[record.name] = "".join(f", {key} {value}" for key, value in values if value is not None)
    return found
