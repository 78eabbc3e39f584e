"""Printed numbers beside recorded ones: difference, 95 % interval and verdict, by one declared rule.

Every number of ours is computed here from the per-query results of records and from nothing else; a row without
a record holds no number. Scores, intervals and differences are in per cent and points.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reidkit.models.backbone import STAGES
from reidkit.profile import Plan, Profile
from reidkit.published import SAN_GAL_OURS, SETTINGS, Setting, Table
from reidkit.records import Record, RecordError
from reidkit.report.display import run_link, without_roles
from reidkit.runs import find_record
from reidkit.settings import Configuration, Settings
from reidkit.systems import ROWS, SYSTEMS
from reidkit.systems.joint_loss import GRID
from reidkit.systems.san_gal import READING_KEYS, READINGS

TOLERANCE = 0.5  # points by which an interval is widened before it decides
RESAMPLES = 2000
LABELS = {"rank-1": "Rank-1", "rank-5": "Rank-5", "rank-10": "Rank-10", "mAP": "mAP"}
TOY_COPY_OF = {
    "market-like": "market1501",
    "duke-like": "dukemtmcreid",
    "msmt-like": "msmt17",
}  # SynthPed presets
DATASETS = {
    "synthped": "SynthPed (toy data)",
    "market1501": "Market-1501",
    "dukemtmcreid": "DukeMTMC-reID",
    "msmt17": "MSMT17",
    "own": "own pictures",
}
Comparison = pd.DataFrame  # what `compare` returns

# In which the runs of one setting may differ: the seed, and what makes a row and shows in its name.
# (Whose heat maps, is checked apart.)
_ROW = {"attributes", "seed"} | {
    key
    for system in SYSTEMS.values()
    for row, settings in system.rows.items()
    if system.configuration.model_construct(**settings).row_name == row
    for key in settings
}
_SPREAD = ("std", "5 %", "95 %")  # what is told of the attention values


# ------------------------------------------------------------------------------------------------- the declared rule


def verdict(published: float, low: float, high: float, departures: Sequence[str] = ()) -> str:
    """What a reproduction says of a published score, given our 95 % interval [low, high]; all in per cent.

    "other setting" where the run departs from the paper's setting, whatever the numbers. Otherwise "reproduced" where
    the published score lies within the interval widened by half a point on either side, "better" where ours lies
    above that, "worse" where it lies below. (A row without a record is "not run"; `compare` says so.)
    """
    if departures:
        return "other setting"
    slack = TOLERANCE + 1e-9  # the bounds belong to the interval, however they were rounded
    if low - slack <= published <= high + slack:
        return "reproduced"
    return "better" if published < low else "worse"


def departures(record: Record, table: Table) -> tuple[str, ...]:
    """In which ways a run is not the experiment of a printed table; empty where it is.

    The yardstick is what the paper prints (data set, initial weights, ResNet-50, 256×128, learning rate, …) and, where
    it prints nothing, the declared reading: the defaults of the system's settings, or what it has in their place.
    """
    config = record.config
    found = []
    if config["dataset"] != table.dataset:
        found.append(
            "toy data (SynthPed)" if config["dataset"] == "synthped" else f"data set {DATASETS[config['dataset']]}"
        )
    if record.system == "san-gal" and "/" in (row := row_of(record)):
        found.append(f"the reading {row.partition('/')[2]}")
    found += _departures(record.system, config, table.weights)
    for other in _departures("attributes", config["attributes"], table.weights) if config.get("attributes") else []:
        if other not in found:
            found.append(f"attribute network: {other}")
    return tuple(found)


def _departures(system: str, config: Mapping[str, Any], weights: str) -> list[str]:
    config, reading = _complete(system, config), reading_of(system)
    found = []
    for keys, words in _WORDS.items():
        if keys == ("residual_scale",) and (config["weights"] or weights != "none"):
            continue  # it shows in no network that starts from weights
        if {*keys} <= reading.keys():
            before, value, after = words.split("|")
            run, paper = (value.format(*_values(keys, values)) for values in (config, reading))
            if run != paper:
                found.append(f"{before}{run}{after}, not {paper}")
    if (config["weights"] is None) != (weights == "none"):
        found.append("no ImageNet weights" if config["weights"] is None else "ImageNet weights")
    return found


_FALL = ("schedule", "cosine_from", "decay", "milestones")  # told together


def _values(keys: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Some settings in words."""
    if keys != _FALL:
        return [_text(values[key]) for key in keys]
    if values["schedule"] == "cosine":
        start = max(values["cosine_from"], values["warmup_epochs"])
        return [f"along a cosine from epoch {start:g}"]
    return [f"× {_text(values['decay'])} at epochs {_text(values['milestones'])}"]


# Every setting that belongs to the method, by the words that tell its value (between the bars).
_WORDS: dict[tuple[str, ...], str] = {
    ("width_multiplier",): "width × |{}|",
    ("residual_scale",): "residual branches start at × |{}|",
    ("last_stride",): "last stride |{}|",
    ("image_height", "image_width"): "|{}×{}| pixels",
    ("epochs",): "epochs |{}|",
    ("batch_size",): "batch size |{}|",
    ("images_per_identity",): "|{}| images per identity",
    ("sampling",): "|{}| sampling",
    ("optimizer",): "optimiser |{}|",
    ("learning_rate",): "learning rate |{}|",
    ("warmup_epochs", "warmup_factor"): "warm-up to epoch |{} from × {}|",
    _FALL: "learning rate |{}|",
    ("weight_decay",): "weight decay |{}|",
    ("flip_probability",): "flip |{}|",
    ("padding",): "pad-crop |{}|",
    ("erasing_probability",): "random erasing |{}|",
    ("label_smoothing",): "label smoothing |{}|",
    ("triplet_margin",): "triplet margin |{}|",
    ("circle_scale", "circle_margin"): "circle scale and margin |{} and {}|",
    ("triplet",): "|{}| the triplet loss",
    ("attribute_weight",): "attribute loss × |{}|",
    ("attribute_epochs",): "attribute loss to epoch |{}|",
}
_NAMES = {"adam": "Adam", "sgd": "SGD", True: "with", False: "without"}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        *first, last = map(_text, value or ["none"])
        return f"{', '.join(first)} and {last}" if first else last
    if isinstance(value, str | bool):
        return _NAMES.get(value, str(value))
    return f"{value:g}"


def defaults_of(system: str) -> dict[str, Any]:
    """The settings of a system that nothing changes, as plain values."""
    return SYSTEMS[system].configuration.model_validate({}).model_dump(mode="json")


def reading_of(system: str) -> dict[str, Any]:
    """The settings of a system's paper, as plain values: what it prints and, where it prints nothing, our reading."""
    return defaults_of(system) | dict(SYSTEMS[system].reading)


def _complete(system: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A record's configuration with the defaults of parameters that are younger than the record."""
    return defaults_of(system) | dict(config)


def row_of(record: Record) -> str:
    """The row that a record's run is of, as far as its settings tell: a control may look like its row."""
    return SYSTEMS[record.system].configuration.model_construct(**record.config).row_name


# ------------------------------------------------------------------------------------------------------ measurements


def query_scores(records: Sequence[Record]) -> pd.DataFrame:
    """Per-query scores as fractions, mean over the given records: the seeds of one run.

    One row per query that has a match, a column per metric (rank-1, rank-5, rank-10, mAP); their means are the metrics.
    Raises RecordError where the records rank different queries, or disagree with their own metrics.
    """
    first = records[0].queries
    total = np.zeros((len(first), len(LABELS)))
    for record in records:
        queries = record.queries
        if not queries["query"].equals(first["query"]):
            raise RecordError(
                f"{record.name} ranks other queries than {records[0].name}: no mean over them can be taken"
            )
        rank = queries["first_match_rank"].to_numpy()
        hits = [(rank >= 1) & (rank <= int(metric.removeprefix("rank-"))) for metric in LABELS if metric != "mAP"]
        scores = np.column_stack([*hits, queries["average_precision"].to_numpy()])  # (Q, M), nan without a match
        means = dict(zip(LABELS, np.nanmean(scores[rank >= 1], axis=0), strict=True))
        for metric, mean in means.items():
            if abs(mean - record.metrics[metric]) > 1e-5:
                raise RecordError(
                    f"{record.name}: its queries give {metric} = {mean:.6f}, its metrics say "
                    f"{record.metrics[metric]:.6f}; the record is not whole, delete it and run it again"
                )
        total += scores
    scored = pd.DataFrame(total / len(records), columns=list(LABELS), index=first["query"])
    return scored[scored["mAP"].notna()]


def bootstrap_interval(
    scores: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds (M,) of the 95 % percentile interval of the mean of scores (Q, M), by bootstrap over the Q queries.

    The same queries are drawn for the same Q and seed, so that the difference of two runs, taken per query, gets its
    paired interval. What it covers is the choice of queries, not that of seeds. Raises ValueError for Q = 0.
    """
    count = len(scores)
    if not count:
        raise ValueError("no query has a match in the gallery: there is nothing to take an interval of")
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, scores.shape[1]))
    for i in range(resamples):
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)
        means[i] = drawn @ scores / count
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return low, high


# --------------------------------------------------------------------------------------------------------- comparison


def records_of(profile: Profile, system: str = "joint-loss") -> list[Record]:
    """The finished records of a profile's rows of one system, in its order, but for controls that look like a row."""
    rows = profile.planned(system)
    return _found(planned.config for planned in rows if planned.config.row_name == planned.row)


def san_gal_records(profile: Profile) -> list[Record]:
    """The finished records of SAN-GAL's rows and readings in a profile and its companion: both sides of its tables."""
    plans = [plan for plan in (profile, profile.other()) if plan]
    return [record for plan in plans for record in records_of(plan, "san-gal")]


def plan_of(table: Table, profile: Profile) -> Profile | None:
    """Whichever of a profile and its companion is on the table's data set, or on SynthPed's copy of it."""
    plans = (plan for plan in (profile, profile.other()) if plan)
    return next((plan for plan in plans if _stands_for(plan.model_dump()) == table.dataset), None)


def missing_runs(table: Table, profile: Profile) -> list[Configuration]:
    """The runs of a profile, one per row and seed of `table`, that have no record."""
    plan = profile.systems.get(ROWS[table.cells[0]].name, Plan())
    configs = (profile.config(row, seed) for row in table.cells for seed in plan.seeds)
    return [config for config in configs if find_record(config) is None]


def _found(configs: Iterable[Configuration]) -> list[Record]:
    return [record for config in configs if (record := find_record(config)) is not None]


def compare(table: Table, records: Iterable[Record]) -> Comparison:
    """A printed table beside records of one setting: a row per method and metric.

    Columns: method, cell, metric, paper, ours, low, high, difference (ours − paper; points), verdict, seeds, records
    (their names). Only records on the table's data set, or on SynthPed's copy of it, count. Rows of other people's
    methods, which have no cell, have an empty verdict. Raises RecordError for records of more than one setting.
    """
    cells = by_cell(of_data(table, records))
    rows = []
    for row in table.rows:
        seeds = cells.get(row.cell, []) if row.cell else []
        ours = low = high = dict.fromkeys(table.metrics, np.nan)
        if seeds:
            scores = 100 * query_scores(seeds)[list(table.metrics)]
            ours = dict(scores.mean())
            low, high = (
                dict(zip(table.metrics, bound, strict=True)) for bound in bootstrap_interval(scores.to_numpy())
            )
        for metric, paper in row.scores.items():
            if seeds:
                judged = verdict(paper, low[metric], high[metric], departures(seeds[0], table))
            else:
                judged = "not run" if row.cell else ""
            rows.append(
                {
                    "method": row.method,
                    "cell": row.cell,
                    "metric": metric,
                    "paper": paper,
                    "ours": ours[metric],
                    "low": low[metric],
                    "high": high[metric],
                    "difference": ours[metric] - paper,
                    "verdict": judged,
                    "seeds": len(seeds),
                    "records": tuple(record.name for record in seeds),
                }
            )
    return pd.DataFrame(rows)


def gains(table: Table, records: Iterable[Record], metric: str = "mAP", base: int = 0) -> pd.DataFrame:
    """What the methods below a row of the table gain over it, in the paper and in the records, in points.

    base: which row; the first unless given. Columns: method, paper, ours, low, high; the interval is paired over
    queries; nan where a run is missing.
    """
    cells = by_cell(of_data(table, records))
    first, *others = table.rows[base:]
    rows = []
    for row in others:
        ours, under = (cells.get(cell, []) if cell else [] for cell in (row.cell, first.cell))
        values = gain(ours, under, metric) if ours and under else {"ours": np.nan, "low": np.nan, "high": np.nan}
        rows.append({"method": row.method, "paper": row.scores[metric] - first.scores[metric], **values})
    return pd.DataFrame(rows)


def gain(ours: Sequence[Record], base: Sequence[Record], metric: str = "mAP") -> dict[str, float]:
    """What some runs gain over others, each a mean over seeds, in points, with the paired interval: ours, low, high.

    Raises RecordError where they rank different queries.
    """
    over, under = (100 * query_scores(seeds)[[metric]] for seeds in (ours, base))
    if not over.index.equals(under.index):
        raise RecordError(f"{ours[0].name} and {base[0].name} rank different queries")
    difference = (over - under).to_numpy()
    low, high = bootstrap_interval(difference)
    return {"ours": float(difference.mean()), "low": float(low[0]), "high": float(high[0])}


def steps(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """Every gain of a row of the table over one above it: columns row, over, metric, and those of `gains`."""
    records = list(records)
    frames = [
        gains(table, records, metric, base).rename(columns={"method": "row"}).assign(over=over.method, metric=metric)
        for base, over in enumerate(table.rows[:-1])
        for metric in table.metrics
    ]
    return pd.concat(frames, ignore_index=True)


def steps_by_seed(table: Table, records: Iterable[Record], metric: str = "mAP") -> dict[tuple[str, str], list[float]]:
    """The gains of `steps` seed by seed, in points, by (row, over); of the seeds that both rows have."""
    of_seed: dict[int, list[Record]] = {}
    for record in records:
        of_seed.setdefault(record.config["seed"], []).append(record)
    found: dict[tuple[str, str], list[float]] = {}
    for seed in sorted(of_seed):
        gained = steps(table, of_seed[seed]).query("metric == @metric").dropna(subset="ours")
        for row, over, ours in zip(gained["row"], gained["over"], gained["ours"], strict=True):
            found.setdefault((row, over), []).append(ours)
    return found


def readings(table: Table, records: Iterable[Record], metric: str = "mAP") -> pd.DataFrame:
    """What each reading of SAN-GAL does, the literal one first: to a metric and to the attention values.

    All rows are of the seeds that each of them has. Columns: reading, ours (per cent), seeds, difference from the
    literal row with low and high (points, paired over queries); then `STAGE std`, `STAGE 5 %` and `STAGE 95 %` of the
    attention values (mean over seeds; nan where the record holds none, as of networks trained online).
    """
    cells = by_cell(of_data(table, records))
    names = {SAN_GAL_OURS: "literal"} | {f"{SAN_GAL_OURS}/{name}": name for name in READINGS}
    found = {name: cells[cell] for cell, name in names.items() if cell in cells}
    seeds = [{record.config["seed"] for record in group} for group in found.values()]
    common = set.intersection(*seeds) if seeds else set()
    rows = []
    for name, group in found.items() if common else ():
        of_seeds = [record for record in group if record.config["seed"] in common]
        row = {"reading": name, "ours": 100 * query_scores(of_seeds)[metric].mean(), "seeds": len(of_seeds)}
        if name != "literal" and "literal" in found:
            literal = [record for record in found["literal"] if record.config["seed"] in common]
            difference = gain(of_seeds, literal, metric)
            row |= {"difference": difference["ours"], "low": difference["low"], "high": difference["high"]}
        if spreads := [record.table("attention") for record in of_seeds if "attention" in record.tables]:
            spread = pd.concat(spreads).groupby("stage").mean()
            row |= {f"{stage} {column}": spread.loc[stage, column] for stage in STAGES for column in _SPREAD}
        rows.append(row)
    columns = ["reading", "ours", "seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns + [f"{stage} {column}" for stage in STAGES for column in _SPREAD])


@dataclass(frozen=True)
class Agreement:
    """How the order of a table's rows came out: pairs that the paper tells apart, clear here, and of these alike."""

    pairs: int
    clear: int
    alike: int


def agreement(table: Table, records: Iterable[Record], metric: str = "mAP") -> Agreement:
    """Whether the rows of `table` come out in the paper's order, pair by pair.

    `pairs` are those of which both rows were run and to which the paper gives different scores; `clear` those whose
    difference, paired over queries, has a 95 % interval without 0; `alike` those of them that have the paper's sign.
    """
    cells = by_cell(of_data(table, records))
    scored = {row.method: query_scores(cells[row.cell])[metric] for row in table.rows if row.cell in cells}
    printed = {row.method: row.scores[metric] for row in table.rows}
    pairs = [(a, b) for a, b in itertools.combinations(scored, 2) if printed[a] != printed[b]]
    if not pairs:
        return Agreement(0, 0, 0)
    low, high = bootstrap_interval(np.column_stack([scored[a] - scored[b] for a, b in pairs]))
    clear = (low > 0) | (high < 0)
    alike = (low > 0) == np.array([printed[a] > printed[b] for a, b in pairs])
    return Agreement(len(pairs), int(clear.sum()), int((clear & alike).sum()))


def grid(records: Iterable[Record], metric: str = "mAP") -> pd.DataFrame:
    """A metric of every cell of the ablation grid in per cent: attention down, loss across, nan where not run."""
    frame = pd.DataFrame(
        np.nan,
        index=list(dict.fromkeys(cell.attention for cell in GRID.values())),
        columns=list(dict.fromkeys(cell.loss for cell in GRID.values())),
    )
    for row, seeds in by_cell(records).items():
        attention, _, loss = row.partition("/")
        frame.loc[attention, loss] = 100 * query_scores(seeds)[metric].mean()
    return frame


def of_data(table: Table, records: Iterable[Record]) -> list[Record]:
    """The records on a table's data set, or on SynthPed's copy of it."""
    return [record for record in records if _stands_for(record.config) == table.dataset]


def by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by their cell. Raises RecordError where they differ in more than cell and seed."""
    cells: dict[str, list[Record]] = {}
    first: dict[str, Record] = {}  # the first record of all, and the first that attends to attributes
    for record in records:
        if not SYSTEMS[record.system].ranks:
            raise RecordError(f"{record.name}: the attribute network's run is no row of a table; leave it out")
        for part in ("", "attributes") if record.config.get("attributes") else ("",):
            other = first.setdefault(part, record)
            one, two = (_complete(part or r.system, r.config[part] if part else r.config) for r in (other, record))
            keys = [key for key in one | two if key not in _ROW and one.get(key) != two.get(key)]
            if keys:
                raise RecordError(
                    f"{other.name} and {record.name} are of different settings ({', '.join(keys)}) and do not "
                    "belong in one table: pass the records of one profile, as `records_of(profile)` gives them"
                )
        seeds = cells.setdefault(row_of(record), [])
        if any(record.config["seed"] == other.config["seed"] for other in seeds):
            raise RecordError(f"{record.name}: the same run and seed twice would count twice")
        seeds.append(record)
    return cells


# -------------------------------------------------------------------------------------------------------- for display


def side_by_side(comparison: Comparison) -> pd.DataFrame:
    """One row per method: paper and here for every metric, the verdict, and links to the runs."""
    rows = []
    for method, group in comparison.groupby("method", sort=False):
        row = {"Method": str(method)}
        for metric, paper, ours in zip(group["metric"], group["paper"], group["ours"], strict=True):
            row[f"{LABELS[metric]} paper"] = _number(paper)
            row[f"{LABELS[metric]} here"] = _number(ours)
        row["Verdict"] = _verdicts(group)
        row["Record"] = " ".join(map(run_link, group["records"].iloc[0]))
        rows.append(row)
    return pd.DataFrame(rows).drop(columns=[] if comparison["seeds"].any() else "Record")


def intervals(comparison: Comparison, metric: str | None = "mAP") -> pd.DataFrame:
    """One row per method: paper, here, 95 % interval, difference, verdict. metric None: a row per method and metric."""
    lines = comparison if metric is None else comparison[comparison["metric"] == metric]
    return pd.DataFrame(
        {
            "Method": lines["method"],
            **({"Score": _labels(lines["metric"])} if metric is None else {}),
            "Paper": lines["paper"].map(_number),
            "Here": lines["ours"].map(_number),
            "95 % interval": list(map(_interval, lines["low"], lines["high"])),
            "Difference": lines["difference"].map(signed),
            "Verdict": lines["verdict"],
        }
    ).reset_index(drop=True)


def step_table(found: pd.DataFrame) -> pd.DataFrame:
    """`steps` for display, the rows named without what stands in brackets."""
    row, over = (found[column].str.partition(" (")[0] for column in ("row", "over"))
    return pd.DataFrame(
        {
            "Gain": row + " over " + over + ", " + _labels(found["metric"]),
            "Paper": found["paper"].map(signed),
            "Here": found["ours"].map(signed),
            "95 % interval": list(map(_interval, found["low"], found["high"])),
        }
    )


def reading_table(found: pd.DataFrame, metric: str = "mAP") -> pd.DataFrame:
    """`readings` for display: what each does to the metric, and the spread of the attention at each stage."""
    shown = pd.DataFrame(
        {
            "Reading": found["reading"],
            LABELS[metric]: found["ours"].map(_number),
            "Difference": found["difference"].map(signed),
            "95 % interval": [_interval(low, high, 2) for low, high in zip(found["low"], found["high"], strict=True)],
        }
    )
    return shown.assign(
        **{f"Std {stage}": found[f"{stage} std"].map(lambda x: "–" if np.isnan(x) else f"{x:.4f}") for stage in STAGES}
    )


def settings(runs: Mapping[str, Configuration], printed: Sequence[Setting] = SETTINGS) -> pd.DataFrame:
    """What a paper prints of its settings, beside the settings of some runs of one kind: a column for each.

    Where it prints nothing, our reading stands in brackets.
    """
    reading = reading_of(next(iter(runs.values())).system)

    def paper(setting: Setting) -> str:
        read = _chosen(setting, {"dataset": "synthped", **reading})
        return setting.printed or ("not printed" if read == "–" else f"not printed ({read})")

    rows = [
        {"Setting": setting.name, "Paper": paper(setting)}
        | {label: _chosen(setting, config.determinants) for label, config in runs.items()}
        for setting in printed
    ]
    return pd.DataFrame(rows)


def has_reading(key: str) -> bool:
    """Whether a parameter belongs to the method, so that its default is a reading of a paper."""
    return key in {"weights", *READING_KEYS, *itertools.chain.from_iterable(_WORDS)}


def summary(tables: Iterable[Table], records: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """One row per printed table and set of records (by label): how many of its own rows were run, and the verdicts.

    Only records on the table's data, or on toy data in their place, are counted, and no toy data beside other people's
    numbers.
    """
    rows = []
    for table in tables:
        others = len(table.rows) > len(table.cells)
        fitting = {label: of_data(table, found) for label, found in records.items()}
        fitting = {
            label: found
            for label, found in fitting.items()
            if found and not (others and found[0].config["dataset"] == "synthped")
        }
        for label, found in (fitting or {"–": []}).items():
            own = compare(table, found).query("verdict != ''").drop_duplicates("method")
            run = own[own["seeds"] > 0]
            counts = compare(table, found).query("seeds > 0")["verdict"].value_counts()
            rows.append(
                {
                    "Table": f"{table.number}: {table.title}",
                    "Data": label,
                    "Rows run": f"{len(run)} of {len(own)}",
                    "Verdicts": ", ".join(f"{kind} ({count})" for kind, count in counts.items()) or "not run",
                }
            )
    return pd.DataFrame(rows)


def conventions(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """mAP of the recorded rows of `table` under both conventions of average precision, mean over seeds, in per cent."""
    cells = by_cell(of_data(table, records))
    rows = []
    for row in table.rows:
        if row.cell in cells:
            both = [[record.metrics[name] for record in cells[row.cell]] for name in ("mAP", "mAP (trapezoid)")]
            rectangular, trapezoid = (100 * float(np.mean(values)) for values in both)
            rows.append((row.method, _number(rectangular), _number(trapezoid), signed(trapezoid - rectangular)))
    return pd.DataFrame(rows, columns=["Method", "Rectangular", "Trapezoid", "Difference"])


def setting_note(table: Table, records: Iterable[Record]) -> str:
    """One paragraph on what "ours" is: data, seeds, queries, and each departure from the paper's setting."""
    cells = {cell: seeds for cell, seeds in by_cell(of_data(table, records)).items() if cell in table.cells}
    if not cells:
        return "Here: not run."
    seeds = sorted({len(group) for group in cells.values()})
    first = next(iter(cells.values()))[0]
    counted = (
        f"{seeds[0]} seed" + ("s" if seeds[0] > 1 else "") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    )
    other = dict.fromkeys(words for group in cells.values() for words in departures(group[0], table))
    note = (
        f"Here: {counted} per row, {len(query_scores([first])):,} queries; intervals by bootstrap over the queries "
        f"({RESAMPLES:,} resamples). "
    )
    return note + (
        f"Another setting than the paper's: {'; '.join(other)}." if other else "The paper's setting, as read here."
    )


def provenance(records: Iterable[Record]) -> pd.DataFrame:
    """Where each record comes from: one row per record, as strings."""
    rows = []
    records = list(records)
    apart = told_apart(records)
    for record in records:
        origin = record.provenance
        commit = (origin.get("commit") or "unknown")[:8] + (" (changed)" if origin.get("dirty") else "")
        rows.append(
            {
                "Record": run_link(record.name),
                "Run": row_of(record) + apart[record.name],
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
    """By name, what tells a record from others of its cell, data and seed, such as `, sampling identities`."""
    alike: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = (row_of(record), *map(record.config.get, ("dataset", "synthped_preset", "seed")))
        alike.setdefault(key, []).append(record)
    found = {}
    for group in alike.values():
        keys = dict.fromkeys(key for record in group for key in record.config)
        varied = [key for key in keys if len({repr(record.config.get(key)) for record in group}) > 1]
        if len(varied) > 3:  # runs of other profiles: told by what the eye looks for, and by their hash
            for record in group:
                size = "{image_height}×{image_width}".format_map(record.config)
                found[record.name] = f", {record.config['epochs']} epochs at {size}, {record.name[-8:]}"
            continue
        for record in group:
            values = ((key, record.config.get(key)) for key in varied)
            found[record.name] = "".join(f", {key} {value}" for key, value in values if value is not None)
    return found


def as_text(table: Table, records: Iterable[Record]) -> str:
    """A table for a console: paper beside here, then each metric with its interval, difference and verdict."""
    records = list(records)
    comparison = compare(table, records)
    parts = [f"Table {table.number} ({table.paper}): {table.title}", _aligned(side_by_side(comparison))]
    if comparison["seeds"].any():
        run = comparison[comparison["seeds"] > 0]
        parts += [f"{LABELS[metric]}\n{_aligned(intervals(run, metric))}" for metric in table.metrics]
    return "\n\n".join([*parts, setting_note(table, records)])


def data_title(plan: Settings) -> str:
    """What a page calls the data of a profile or run: SynthPed by the data set that it is a copy of."""
    if plan.dataset != "synthped":
        return DATASETS[plan.dataset]
    return f"SynthPed, {plan.synthped_preset} (toy data)"


def _stands_for(config: Mapping[str, Any]) -> str:
    """The data set whose tables a run may stand in."""
    return TOY_COPY_OF[config["synthped_preset"]] if config["dataset"] == "synthped" else config["dataset"]


# What runs here have in common where the paper prints nothing and no parameter says it.
_CHOICES = {
    "identification loss": "cross-entropy",
    "heat maps": "calculated offline",
    "momentum": "0.9",
    "where each attention module sits": "where its authors put it",
    "feature and distance of the retrieval": "after BNNeck, cosine",
    "convention of the average precision": "rectangular",
}


def _chosen(setting: Setting, values: Mapping[str, Any]) -> str:
    if setting.keys == ("dataset",):
        return DATASETS[values["dataset"]]
    if setting.keys == ("weights",):
        return values["weights"] or "none"
    if setting.name == "momentum" and values["optimizer"] != "sgd":
        return "–"
    words = [
        text.replace("|", "").format(*_values(keys, values))
        for keys, text in _WORDS.items()
        if {*keys} <= {*setting.keys}
    ]
    return "; ".join(words).replace(setting.name, "").strip() or _CHOICES.get(setting.name, "–")


def _verdicts(group: pd.DataFrame) -> str:
    kinds = group.groupby("verdict", sort=False)["metric"].agg(list)
    if len(kinds) == 1:
        return str(kinds.index[0])
    return "; ".join(f"{kind} ({', '.join(LABELS[metric] for metric in metrics)})" for kind, metrics in kinds.items())


def _labels(metrics: pd.Series) -> pd.Series:
    return metrics.map(LABELS).str.replace("-", "\N{NON-BREAKING HYPHEN}")  # or a narrow column breaks Rank-1


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, – where there is none."""
    return "–" if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def _interval(low: float, high: float, digits: int = 1) -> str:
    return "–" if np.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")


def _aligned(frame: pd.DataFrame) -> str:
    """Text columns to the left, numbers to the right."""
    columns = []
    for name in frame.columns:
        cells = [name, *frame[name].map(without_roles)]
        width = max(map(len, cells))
        left = name in {"Method", "Verdict", "Record"}
        columns.append([cell.ljust(width) if left else cell.rjust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
