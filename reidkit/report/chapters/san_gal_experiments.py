"""What book/san-gal-experiments.md shows: what the rows of SAN-GAL's Table 1 gain, and what its readings do."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS, Table
from reidkit.records import Record
from reidkit.report.rows import Estimate, Rows, of_data
from reidkit.report.style import BLUE, WIDTH, Drawing, style
from reidkit.report.tables import interval_cells, label
from reidkit.report.verdicts import gains
from reidkit.report.words import LABELS, gained, number, signed
from reidkit.systems.san_gal import READINGS

SPREAD = ("std", "5 %", "95 %")  # what is told of the attention values


def steps(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """Every gain of a row of the table over one above it: columns row, over, metric, and those of `verdicts.gains`."""
    records = list(records)
    frames = [
        gains(table, records, metric, base).rename(columns={"method": "row"}).assign(over=over.method, metric=metric)
        for base, over in enumerate(table.rows[:-1])
        for metric in table.metrics
    ]
    return pd.concat(frames, ignore_index=True)


def steps_by_seed(table: Table, records: Iterable[Record], metric: str = "mAP") -> dict[tuple[str, str], list[float]]:
    """The gains of `steps` seed by seed, in points, by (row, over); of the seeds that both rows have."""
    measured = Rows(of_data(table.dataset, records))
    score = {
        row: {record.config["seed"]: 100 * record.metrics[metric] for record in runs} for row, runs in measured.items()
    }
    found = {}
    for base, over in enumerate(table.rows):
        for row in table.rows[base + 1 :]:
            ours, under = (score.get(cell or "", {}) for cell in (row.cell, over.cell))
            found[row.method, over.method] = [ours[seed] - under[seed] for seed in sorted(ours.keys() & under.keys())]
    return {pair: seeds for pair, seeds in found.items() if seeds}


def step_table(found: pd.DataFrame) -> pd.DataFrame:
    """`steps` for display, the rows named without what stands in brackets."""
    row, over = (found[column].str.partition(" (")[0] for column in ("row", "over"))
    return pd.DataFrame(
        {
            "Gain": row + " over " + over + ", " + found["metric"].map(label),
            "Paper": found["paper"].map(signed),
            "Here": found["ours"].map(signed),
            "95 % interval": interval_cells(found, sign=True),
        }
    )


def readings(table: Table, records: Iterable[Record], metric: str = "mAP") -> pd.DataFrame:
    """What each reading of SAN-GAL does, the literal one first: to a metric and to the attention values.

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
        line = {"reading": names[row], "ours": alike.score(row)[metric].ours, "seeds": len(runs)}
        difference = alike.gain(row, SAN_GAL_OURS)[metric] if row != SAN_GAL_OURS else Estimate()
        line |= {"difference": difference.ours, **difference._asdict()} | {"ours": line["ours"]}
        if spreads := [record.table("attention") for record in runs if "attention" in record.tables]:
            spread = pd.concat(spreads).groupby("stage").mean()
            line |= {f"{stage} {column}": spread.loc[stage, column] for stage in STAGES for column in SPREAD}
        lines.append(line)
    columns = ["reading", "ours", "seeds", "difference", "low", "high", "covers"]
    return pd.DataFrame(lines, columns=columns + [f"{stage} {column}" for stage in STAGES for column in SPREAD])


def reading_table(found: pd.DataFrame, metric: str = "mAP") -> pd.DataFrame:
    """`readings` for display: what each does to the metric, and the spread of the attention at each stage."""
    shown = {
        "Reading": found["reading"],
        LABELS[metric]: found["ours"].map(number),
        "Difference": found["difference"].map(signed),
        "95 % interval": interval_cells(found, digits=2, sign=True),
    }
    return pd.DataFrame(shown | {f"Std {stage}": [number(std, 4) for std in found[f"{stage} std"]] for stage in STAGES})


def reading_chart(readings: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """What each reading of SAN-GAL does: above to the metric, below to the attention. `readings` makes it.

    Above: the difference from the literal row with its interval. Below: the middle 90 % of the attention values, a
    line per stage; what lies close together hardly selects. A reading with just the attention of one above is left out.
    """
    others = readings[readings["reading"] != "literal"]
    columns = [f"{stage} {bound}" for stage in STAGES for bound in ("5 %", "95 %")]
    spread = readings.dropna(subset=columns).drop_duplicates(columns)
    heights = [max(len(frame), 1) for frame in (others, spread)]
    palette = sns.color_palette("colorblind", len(STAGES))
    with style():
        size = (WIDTH, 1.9 + 0.45 * sum(heights))
        figure, (above, below) = plt.subplots(2, figsize=size, layout="constrained", height_ratios=heights)
        places = np.arange(len(others))
        above.axvline(0, color="0.3", linewidth=1)
        above.hlines(places, others["low"], others["high"], color=BLUE, linewidth=4, alpha=0.45)
        above.plot(others["difference"], places, "o", color=BLUE, markersize=8)
        above.set(xlabel=f"{LABELS[metric]} gained (points)")
        for i, stage in enumerate(STAGES):
            rows = np.arange(len(spread)) + 0.22 * (i - 1)
            ends = spread[f"{stage} 5 %"], spread[f"{stage} 95 %"]
            below.hlines(rows, *ends, color=palette[i], linewidth=3, label=stage)
            for end in ends:  # where a line is too short to be seen, its ends are
                below.plot(end, rows, "|", color=palette[i], markersize=7, markeredgewidth=2)
        below.set(xlabel="attention values, middle 90 %")
        below.xaxis.set_major_locator(MaxNLocator(5))
        for axes, frame, height in zip((above, below), (others, spread), heights, strict=True):
            axes.set_yticks(np.arange(len(frame)), frame["reading"].str.replace("maps-one", "maps-\none"))
            axes.set_ylim(height - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    told = [
        f"{line['reading']} {gained(line['difference'], line['low'], line['high'])}" for _, line in others.iterrows()
    ]
    ranges = [
        f"{line['reading']} "
        + ", ".join(f"{stage} {line[f'{stage} 5 %']:.3f} to {line[f'{stage} 95 %']:.3f}" for stage in STAGES)
        for _, line in spread.iterrows()
    ]
    return figure, (
        f"Two charts. {LABELS[metric]} gained over the literal reading in points: {'; '.join(told) or 'not run'}. "
        f"Middle 90 % of the attention values: {'; '.join(ranges) or 'not run'}."
    )
