"""What book/san-gal-experiments.md shows: what the rows of SAN-GAL's Table 1 gain, and what its readings do."""

from collections.abc import Iterable, Mapping

import pandas as pd

from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_1, Table
from reidkit.records import Record
from reidkit.report.differences import difference_table, with_interval
from reidkit.report.rows import Estimate, Rows, Runs, difference, differences, of_data
from reidkit.report.words import number
from reidkit.systems import SYSTEMS
from reidkit.systems.san_gal import READINGS

SPREAD = ("std", "5 %", "95 %")  # what is told of the attention values


BASE = "IDonly"
WITH_HEADS = f"{SAN_GAL_OURS}/attribute-heads"
SELECTS = f"{SAN_GAL_OURS}/scaled-maps-one-sigmoid"  # the reading whose attention can select
PAPER = {row.cell: row.scores["mAP"] for row in SAN_GAL_TABLE_1[0].rows}  # mAP by row
SHOWN = {row.cell: row.method.partition(" (")[0] for row in SAN_GAL_TABLE_1[0].rows if row.cell} | {
    row: SYSTEMS["san-gal"].label(row)
    for row in (WITH_HEADS, SELECTS, *(f"{SAN_GAL_OURS}/{maps}" for maps in ("shuffled", "centre", "constant")))
}


def answer(runs: Runs, data: str) -> str:
    """What attributes brought on some data, as labels and as attention, in a sentence or two."""
    labels, attention = difference(runs, "ID+attr", BASE), difference(runs, SAN_GAL_OURS, "ID+attr")
    if not (labels.known and attention.known):
        return f"On {data}, {'these rows have not all' if runs else 'none of these rows has'} been run yet."
    text = (
        f"On {data} attribute labels change mAP by {with_interval(labels)} points over *IDonly*, and SAN-GAL, read "
        f"literally, by {with_interval(attention)} over *ID+attr*"
    )
    without, within = difference(runs, SAN_GAL_OURS, BASE), difference(runs, WITH_HEADS, "ID+attr")
    text += f". The attention alone changes it by {with_interval(without)} without attribute heads"
    return text + (f", by {with_interval(within)} with them." if within.known else ".")


def controls(data: Mapping[str, Runs]) -> pd.DataFrame:
    """What the true maps have over each control, a line each; of those that were run."""
    controls = {row: name.removesuffix(" (control)") for row, name in SHOWN.items() if "(control)" in name}
    return difference_table(
        {f"the true maps over {name}": differences(data, SELECTS, row) for row, name in controls.items()}
    )


def readings(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """What each reading of SAN-GAL does, the literal one first: to mAP and to the attention values.

    All rows are of the seeds that each of them has. Columns: reading, ours (per cent), seeds, difference from the
    literal row with low, high and covers (as of an `Estimate`, in points); then `STAGE std`, `STAGE 5 %` and
    `STAGE 95 %` of the attention values (mean over seeds; nan where the record holds none, as of networks trained
    online).
    """
    measured = Rows(of_data(table.dataset, records))
    names = {SAN_GAL_OURS: "literal"} | {f"{SAN_GAL_OURS}/{name}": name for name in READINGS}
    seeds = [{record.config["seed"] for record in measured[row]} for row in names if row in measured]
    common = set.intersection(*seeds) if seeds else set()
    alike = Rows(record for row in names for record in measured.get(row, []) if record.config["seed"] in common)
    alike.spread = measured.spread  # what is known of seeds, is known of all of them
    lines = []
    for row, runs in alike.items():
        line = {"reading": names[row], "ours": alike.score(row)["mAP"].ours, "seeds": len(runs)}
        difference = alike.gain(row, SAN_GAL_OURS)["mAP"] if row != SAN_GAL_OURS else Estimate()
        line |= {"difference": difference.ours, **difference._asdict()} | {"ours": line["ours"]}
        if spreads := [record.table("attention") for record in runs if "attention" in record.tables]:
            spread = pd.concat(spreads).groupby("stage").mean()
            line |= {f"{stage} {column}": spread.loc[stage, column] for stage in STAGES for column in SPREAD}
        lines.append(line)
    columns = ["reading", "ours", "seeds", "difference", "low", "high", "covers"]
    return pd.DataFrame(lines, columns=columns + [f"{stage} {column}" for stage in STAGES for column in SPREAD])


def reading_table(found: pd.DataFrame) -> pd.DataFrame:
    """`readings` for display: what each does to mAP, and the spread of the attention at each stage."""
    gains = found[["difference", "low", "high", "covers"]].itertuples(index=False)
    shown = {
        "Reading": found["reading"],
        "mAP": found["ours"].map(number),
        "Difference": [with_interval(Estimate(*gain)) for gain in gains],
    }
    spreads = {f"Std {stage}": [number(1000 * std) for std in found[f"{stage} std"]] for stage in STAGES}
    return pd.DataFrame(shown | spreads)
