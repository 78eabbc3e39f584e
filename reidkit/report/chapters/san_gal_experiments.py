"""Figures and tables of book/san-gal-experiments.md: SAN-GAL's Table 1 and the readings of its text."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from reidkit.models.backbone import STAGES
from reidkit.report.chapters.experiments import _gained
from reidkit.report.style import WIDTH, Drawing, style
from reidkit.report.tables import LABELS


def reading_chart(readings: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """What each reading of SAN-GAL does: above to the metric, below to the attention. `tables.readings` makes it.

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
        above.hlines(places, others["low"], others["high"], color="#0072b2", linewidth=4, alpha=0.45)
        above.plot(others["difference"], places, "o", color="#0072b2", markersize=8)
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
    gained = [
        f"{line['reading']} {_gained(line['difference'], line['low'], line['high'])}" for _, line in others.iterrows()
    ]
    ranges = [
        f"{line['reading']} "
        + ", ".join(f"{stage} {line[f'{stage} 5 %']:.3f} to {line[f'{stage} 95 %']:.3f}" for stage in STAGES)
        for _, line in spread.iterrows()
    ]
    return figure, (
        f"Two charts. {LABELS[metric]} gained over the literal reading in points: {'; '.join(gained) or 'not run'}. "
        f"Middle 90 % of the attention values: {'; '.join(ranges) or 'not run'}."
    )
