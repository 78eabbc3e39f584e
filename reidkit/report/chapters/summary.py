"""What the front page and book/summary.md say was found: sentences by hand, with the numbers of the runs in them."""

from collections.abc import Mapping

from reidkit.models.attention import ATTENTION
from reidkit.published import OURS, SAN_GAL_OURS, SAN_GAL_TABLE_1, TABLE_1
from reidkit.records import Record
from reidkit.report import localisation
from reidkit.report.chapters import comparison, looking
from reidkit.report.chapters.recipe import first_runs, gains_of
from reidkit.report.differences import with_interval
from reidkit.report.rows import PEOPLE, Estimate, Runs, difference, differences
from reidkit.report.words import counted, listed, signed

GAIN = "a clear gain"
DECAYED = "se/ce/decayed"
Data = Mapping[str, Runs]  # by what a page calls the data set, the runs of one system


def worth(found: Estimate) -> str:
    """What a difference with its interval is worth, in words; nothing is said where seeds are not known."""
    if not found.clear:
        return "no verdict from so few seeds" if found.covers == PEOPLE else "nothing that can be told from chance"
    return GAIN if found.ours > 0 else "a clear loss"


def each(data: Data, row: str, over: str) -> str:
    """What a row has over another on every data set that has both: *−0.3 [−2.3 to +1.7] on SynthPed*."""
    run = [f"{with_interval(e)} on {title}" for title, e in differences(data, row, over).items() if e.known]
    return " and ".join(run) or "(not run yet)"


def method(data: Data) -> str:
    """That of the joint-loss paper against its baseline."""
    printed = TABLE_1.row("Ours").scores["mAP"] - TABLE_1.row("Baseline").scores["mAP"]
    gains = {title: gain for title, gain in differences(data, OURS, "none/ce").items() if gain.known}
    run = {title: worth(gain) for title, gain in gains.items()}
    if not run:
        return f"**The whole method** has {signed(printed)} points of mAP in the paper. Here it has not been run yet."
    told = list(run.values())[:1] if len(set(run.values())) == 1 else [f"{w} on {title}" for title, w in run.items()]
    headline = "The printed gain is not there"
    if clear := [title for title, of_data in run.items() if of_data == GAIN]:
        headline = "The whole method gains less than printed"
        headline += f", and clearly only on {listed(clear)}" if len(clear) < len(run) else ""
    elif any(gain.low > 0 for gain in gains.values()):
        headline = "Part of the printed gain is there, as far as so few seeds can tell"
    return (
        f"**{headline}.** In the paper, CBAM with the joint loss is worth {signed(printed)} points of mAP over the "
        f"baseline. Here it is {each(data, OURS, 'none/ce')}: {listed(told)}."
    )


# Single modules, and what each is to be told from: a constant for those that weigh the residual branches; DANet and
# Non-local leave these alone.
SINGLE = {"se/ce": "half/ce", "eca/ce": "half/ce", "danet/ce": "none/ce", "nonlocal/ce": "none/ce"}


def attention(data: Data) -> str:
    """What single modules with cross-entropy have over what does not attend."""
    gains = {title: {_title(r): difference(runs, r, SINGLE[r]) for r in SINGLE} for title, runs in data.items()}
    clear = [
        (name, title) for title, found in gains.items() for name, gain in found.items() if gain.clear and gain.ours > 0
    ]
    headline = "No attention module can be told from one that does not attend"
    if clear:
        names, titles = (listed(list(dict.fromkeys(of))) for of in zip(*clear, strict=True))
        headline = f"Of {counted(len(SINGLE))} attention modules only {names} can be told to help, on {titles}"
    text = (
        f"**{headline}.** SE and ECA multiply residual branches, and are set beside a constant ½ in their place; DANet "
        "and Non-local leave the branches alone, and are set beside the baseline."
    )
    for title, found in gains.items():
        ahead = [f"{name} has {with_interval(found[name])}" for name, of in clear if of == title]
        rest = [gain.ours for name, gain in found.items() if gain.known and (name, title) not in clear]
        if rest:
            low, high = signed(min(rest)), signed(max(rest))
            every = "both" if len(rest) == 2 else f"all {counted(len(rest))}"
            which = f"the other {counted(len(rest))}" if ahead else every
            ahead.append(
                f"{which} lie between {low} and {high}"
                if len(rest) > 1
                else f"the {'other' if ahead else 'one run'} has {low}"
            )
        text += f" On {title}, {listed(ahead)}." if ahead else ""
    decayed = [
        f"{looking.between(runs, DECAYED).iloc[0]:.1f} %" for runs in data.values() if looking.measured(runs, DECAYED)
    ]
    if decayed:
        text += (
            " In earlier runs, with the usual weight decay, SE gave all pictures the same weights, to "
            f"{listed(decayed)}: {{doc}}`looking` tells why."
        )
    return text


def _title(row: str) -> str:
    return ATTENTION[row.partition("/")[0]].title


def modules(data: Data) -> str:
    """Which attention modules are clearly better than the baseline, by data set, in a sentence each."""
    told = []
    for title, runs in data.items():
        gains = {key: difference(runs, f"{key}/ce", "none/ce") for key in ("se", "eca", "cbam", "danet", "nonlocal")}
        tested = {ATTENTION[key].title: gain for key, gain in gains.items() if gain.known}
        ahead = [f"{name} ({with_interval(gain)})" for name, gain in tested.items() if gain.clear and gain.ours > 0]
        if tested:
            many = f"{counted(len(tested))} module{'s' if len(tested) > 1 else ''}"
            are = "are" if len(ahead) > 1 else "is"
            told.append(f"On {title}, of {many} {listed(ahead or ['none'])} {are} clearly better than the baseline.")
    return " ".join(told)


def start(data: Data) -> str:
    """How the first ablation came out, and what is left of it."""
    gains = gains_of(first_runs())
    se, half, triplet = (gains[row] for row in ("se/ce", "half/ce", "none/ce+tri"))
    return (
        "**Our first ablation misled us.** With residual branches at full strength, the usual start, "
        f"and twelve epochs at 128×64 pixels, SE seemed to be worth {signed(se, 1)} points on Market-1501, where the "
        f"constant ½ in its place has {signed(half, 1)}, and the triplet loss {signed(triplet, 1)}. With branches that "
        "start at zero, trained for longer on smaller pictures, SE changes mAP by "
        f"{each(data, 'se/ce', 'none/ce')}, and the triplet loss by {each(data, 'none/ce+tri', 'none/ce')}. "
        "{doc}`recipe` tells how it was found, and takes the two apart."
    )


def losses(data: Data) -> str:
    """The triplet loss and the circle classifier."""
    joint = differences(data, "none/ce+tri+cir", "none/ce")
    headline = "The losses alone"
    if helped := [title for title, found in joint.items() if found.low > 0]:
        seeds = any(worth(joint[title]) == GAIN for title in helped)
        headline = f"What helps is the loss, on {listed(helped)}" + (
            "" if seeds else ", as far as so few seeds can tell"
        )
    return (
        f"**{headline}.** The joint loss, without any attention, changes mAP by "
        f"{each(data, 'none/ce+tri+cir', 'none/ce')}. Of its two parts the circle classifier beside the triplet loss "
        f"has {each(data, 'none/ce+tri+cir', 'none/ce+tri')}."
    )


def attributes(data: Data) -> str:
    """What SAN-GAL's attributes bring, as labels and as attention."""
    scores = {row.cell: row.scores["mAP"] for row in SAN_GAL_TABLE_1[0].rows}
    labels, attention = scores["ID+attr"] - scores["IDonly"], scores[SAN_GAL_OURS] - scores["IDonly"]
    found = [gain for row in ("ID+attr", SAN_GAL_OURS) for gain in differences(data, row, "IDonly").values()]
    instead = differences(data, SAN_GAL_OURS, "ID+attr")
    headline = "Attribute labels are one thing, attribute attention another"
    if worse := [title for title, gain in instead.items() if gain.clear and gain.ours < 0]:
        headline = f"As attention attributes are worth less than as labels, on {listed(worse)}"
    elif not any(gain.clear for gain in found):
        headline = "What attributes bring cannot be told yet, as labels or as attention"
    return (
        f"**{headline}.** Labels as a second task change mAP by "
        f"{each(data, 'ID+attr', 'IDonly')} (in the paper {signed(labels)}). Attention that heat maps guide, read "
        f"literally and in place of that task, changes it by {each(data, SAN_GAL_OURS, 'IDonly')} (in the paper "
        f"{signed(attention)}): it multiplies by nearly one and the same number everywhere. Set beside labels, that "
        f"is {each(data, SAN_GAL_OURS, 'ID+attr')} (in the paper {signed(attention - labels)})."
    )


def others(runs: Runs) -> str:
    """The systems of other people, on SynthPed."""
    if not (found := comparison.standings(runs)):
        return "**Other people's systems** have not been run yet."
    ahead = any(gain.clear and gain.ours > 0 for gain in found.get("none/ce+tri", {}).values())
    headline = "Some other systems beat" if ahead else "No other system is told to beat"
    headline += " a plain network with triplet loss on SynthPed"
    text = f"**{headline}.** {comparison.ahead_in_words(runs)}"
    repaired = difference(runs, "ianet/normalised", "none/ce+tri")
    if repaired.clear and repaired.ours > 0:
        text += " IANet is, once its weights can select, which those of its published code hardly can: by "
        text += f"{with_interval(repaired)}."
    return f"{text} {{doc}}`comparison` has them all, with what they cost."


def maps(record: Record | None, measured: str = "{doc}`localisation`") -> str:
    """Whether heat maps lie on their attributes. measured: what the page calls the chapter that measures it."""
    if record is None or "localisation" not in record.tables:
        return "**Whether heat maps lie on their attributes can be measured.** It has not been run yet."
    means = localisation.localisation_means(record.table("localisation"))
    row = localisation.best_row(means)
    signs = localisation.signs_at(means, str(row["stage"]), "centre")
    headline = "A heat map that convinces the eye may miss"
    if min(signs.values()) > 0:
        headline = "Heat maps find attributes"
    elif signs["energy"] > 0:
        headline = "Heat maps find attributes little better than a blob"
    balanced = 100 * record.metrics["balanced accuracy (identity)"]
    return (
        f"**{headline}.** The attribute network names strangers' attributes with a balanced accuracy of "
        f"{balanced:.0f} %. Of its best maps' energy {row['map']:.0f} % lies on the attribute, of a blob in the middle "
        f"of the picture {row['centre']:.0f} %. By the three measures of {measured} the maps are "
        f"{localisation.in_words(signs)} beside the blob."
    )
