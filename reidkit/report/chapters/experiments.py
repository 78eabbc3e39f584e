"""Figures and tables of book/experiments.md: the joint-loss paper's Table 1 and what lies around it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from reidkit.models import ATTENTION
from reidkit.report.style import WIDTH, Drawing, style
from reidkit.report.tables import LABELS
from reidkit.systems.joint_loss import LOSSES


def gain_chart(gains: pd.DataFrame, base: str = "Baseline", metric: str = "mAP") -> Drawing:
    """Gains over the baseline, paper's against ours with its interval. `gains` as `tables.gains` makes it."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.5 * len(gains)), layout="constrained")
        places = np.arange(len(gains))
        axes.axvline(0, color="0.3", linewidth=1)
        axes.hlines(places, gains["low"], gains["high"], color="#0072b2", linewidth=4, alpha=0.45)
        label = "here, with 95 % interval" if gains["ours"].notna().any() else None
        axes.plot(gains["ours"], places, "o", color="#0072b2", markersize=8, label=label)
        axes.plot(gains["paper"], places, "D", color="#d55e00", markersize=7, fillstyle="none", label="paper")
        axes.set_yticks(places, gains["method"])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"{LABELS[metric]} gained over {base} (points)")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    lines = [
        f"{line['method']}: paper {line['paper']:+.2f}, here " + _gained(line["ours"], line["low"], line["high"])
        for _, line in gains.iterrows()
    ]
    return figure, f"Chart of {LABELS[metric]} gained over {base} in points. " + "; ".join(lines) + "."


def _gained(ours: float, low: float, high: float) -> str:
    return "not run" if np.isnan(ours) else f"{ours:+.2f} ({low:+.2f} to {high:+.2f})"


def grid_heat_map(scores: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """The ablation grid, attention down and loss across, in per cent; what was not run (nan) is left blank."""
    low, high = (scores.min(axis=None), scores.max(axis=None)) if scores.notna().any(axis=None) else (0, 100)
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
        sns.heatmap(
            scores.rename(index=_title, columns=LOSSES),
            annot=True,
            fmt=".1f",
            cmap="crest",
            vmin=low,
            vmax=high,
            linewidths=2,
            linecolor="white",
            annot_kws={"size": 13},
            cbar_kws={"label": f"{metric} (%)"},
            ax=axes,
        )
        for (row, column), value in np.ndenumerate(scores.to_numpy(dtype=float)):
            if np.isnan(value):
                axes.text(column + 0.5, row + 0.5, "not run", ha="center", va="center", color="0.45")
        axes.grid(visible=False)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0, rotation=0)
    lines = [
        f"{_title(str(attention))}: "
        + ", ".join(
            f"{LOSSES.get(str(loss), loss)} {'not run' if np.isnan(v) else f'{v:.1f}'}" for loss, v in row.items()
        )
        for attention, row in scores.iterrows()
    ]
    return figure, f"Heat map of {metric} in per cent, attention module by loss. " + "; ".join(lines) + "."


def _title(attention: str) -> str:
    return ATTENTION[attention].title
