"""What the front page and book/summary.md say was found: sentences by hand, with the numbers of the runs in them."""

from collections.abc import Mapping

from reidkit.models.attention import ATTENTION
from reidkit.published import OURS, SAN_GAL_OURS, SAN_GAL_TABLE_1, TABLE_1
from reidkit.records import Record
from reidkit.report import localisation
from reidkit.report.chapters import comparison, looking
from reidkit.report.chapters.recipe import first_runs, gains_of
from reidkit.report.differences import with_interval
from reidkit.report.rows import Estimate, Runs, difference, differences
from reidkit.report.words import counted, listed, signed

DECAYED = "se/ce/decayed"
WITH_HEADS = f"{SAN_GAL_OURS}/attribute-heads"  # labels and attention
Data = Mapping[str, Runs]  # by what a page calls the data set, the runs of one system


def gained(found: Estimate) -> bool:
    """Whether a difference is clearly above zero."""
    return found.clear and found.ours > 0


def each(data: Data, row: str, over: str) -> str:
    """What a row has over another on every data set that has both: *−0.3 [−2.3 to +1.7] on SynthPed*."""
    run = [f"{with_interval(e)} on {title}" for title, e in differences(data, row, over).items() if e.known]
    return " and ".join(run) or "(not run yet)"


def method(data: Data) -> str:
    """That of the joint-loss paper against its baseline."""
    printed = TABLE_1.row("Ours").scores["mAP"] - TABLE_1.row("Baseline").scores["mAP"]
    gains = {title: gain for title, gain in differences(data, OURS, "none/ce").items() if gain.known}
    if not gains:
        return f"**The whole method** has {signed(printed)} points of mAP in the paper. Here it has not been run yet."
    headline = "The printed gain is not there"
    if clear := [title for title, gain in gains.items() if gained(gain)]:
        headline = "The whole method gains less than printed"
        headline += f", and clearly only on {listed(clear)}" if len(clear) < len(gains) else ""
    elif any(gain.low > 0 for gain in gains.values()):
        headline = "Part of the printed gain is there, as far as so few seeds can tell"
    return (
        f"**{headline}.** In the paper, CBAM with the joint loss is worth {signed(printed)} points of mAP over the "
        f"baseline. Here it is {each(data, OURS, 'none/ce')}."
    )


SINGLE = tuple(f"{key}/ce" for key in ("se", "eca", "cbam", "danet", "nonlocal"))
GATES = {"se/ce": "half/ce", "eca/ce": "half/ce"}  # beside the constant that weakens branches as they do at the start


def attention(data: Data) -> str:
    """What single modules with cross-entropy have over the baseline, and gates over the constant in their place."""
    gains = {title: {row: difference(runs, row, "none/ce") for row in SINGLE} for title, runs in data.items()}
    gains = {title: {row: gain for row, gain in of.items() if gain.known} for title, of in gains.items()}
    helped = [
        (row, title)
        for title, found in gains.items()
        for row, gain in found.items()
        if gained(gain) and (row not in GATES or difference(data[title], row, GATES[row]).low > 0)
    ]
    many = counted(max((len(found) for found in gains.values()), default=len(SINGLE)))
    headline = f"Of {many} attention modules none clearly helps"
    if helped:
        rows, titles = (list(dict.fromkeys(of)) for of in zip(*helped, strict=True))
        headline = f"Of {many} attention modules only {listed([_title(row) for row in rows])} clearly "
        headline += f"help{'s' if len(rows) == 1 else ''}, on {listed(titles)}"
    told = []
    for title, found in gains.items():
        parts = [f"{_title(row)} has {with_interval(found[row])}" for row, of in helped if of == title]
        if rest := [gain.ours for row, gain in found.items() if (row, title) not in helped]:
            spread = " to ".join(dict.fromkeys([signed(min(rest)), signed(max(rest))]))
            parts.append(f"{'the others' if parts else 'they'} have {spread}")
        told += [f"on {title} {listed(parts)}"] if parts else []
    text = f"**{headline}.**" + (f" Over the baseline, {'; '.join(told)}." if told else "")
    text += (
        " A gate that has learned nothing halves its input. Over a constant ½ in its place, which looks at nothing, "
        f"SE has {each(data, 'se/ce', 'half/ce')}, and ECA {each(data, 'eca/ce', 'half/ce')}."
    )
    decayed = [
        f"{looking.between(runs, DECAYED).iloc[0]:.1f} %" for runs in data.values() if looking.measured(runs, DECAYED)
    ]
    if decayed:
        text += (
            f" In earlier runs, with the usual weight decay, SE's weights differed by {listed(decayed)} between "
            "pictures: {doc}`looking` tells why."
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
        ahead = [f"{name} ({with_interval(gain)})" for name, gain in tested.items() if gained(gain)]
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
        seeds = any(gained(joint[title]) for title in helped)
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
        headline = f"Attention that attributes guide does not make up for attribute labels, on {listed(worse)}"
    elif not any(gain.clear for gain in found):
        headline = "What attributes bring cannot be told yet, as labels or as attention"
    return (
        f"**{headline}.** Labels as a second task change mAP by "
        f"{each(data, 'ID+attr', 'IDonly')} (in the paper {signed(labels)}). Attention that heat maps guide, read "
        f"literally and in the place of that task, changes it by {each(data, SAN_GAL_OURS, 'IDonly')} (in the paper "
        f"{signed(attention)}): it multiplies features by nearly the same number everywhere. Instead of labels "
        f"that is {each(data, SAN_GAL_OURS, 'ID+attr')}, beside them {each(data, WITH_HEADS, 'ID+attr')}."
    )


def others(data: Data) -> str:
    """The systems of other people beside a plain network with triplet loss."""
    standings = {title: comparison.standings(runs).get("none/ce+tri", {}) for title, runs in data.items()}
    standings = {title: gains for title, gains in standings.items() if gains}
    if not standings:
        return "**Other people's systems** have not been run yet."
    told: list[str] = []
    ahead: list[str] = []
    for title, gains in standings.items():
        clear = {row: gain for row, gain in gains.items() if gained(gain)}
        names = [f"*{comparison.NAMES[row]}* ({with_interval(gain)})" for row, gain in clear.items()]
        ahead += [title] if names else []
        were = f"of the {counted(len(gains))} that were run" if len(gains) > 1 else "the one that was run"
        told.append(
            f"On {title}, {were}, {listed(names or ['none'])} {'are' if len(names) > 1 else 'is'} clearly ahead of it."
        )
    headline = "No other system clearly beats a plain network with triplet loss"
    if ahead:
        headline = f"Some other systems beat a plain network with triplet loss, but only on {listed(ahead)}"
        if len(ahead) == len(standings):
            headline = "Some other systems beat a plain network with triplet loss"
    controls = {
        title: (difference(runs, "ianet", "ianet/none"), difference(runs, "ianet/none", comparison.PLAIN))
        for title, runs in data.items()
    }
    for title, (modules_alone, without) in controls.items():
        if modules_alone.known and without.known:
            loss = gained(without) and not gained(modules_alone)
            told.append(
                f"On {title} IANet without its modules has {with_interval(without)} over it, and with them "
                f"{with_interval(modules_alone)} over that"
                + (": what looks like attention may be its form of the loss." if loss else ".")
            )
    return f"**{headline}.** {' '.join(told)} {{doc}}`comparison` has them all, with what they cost."


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
        f"of the picture {row['centre']:.0f} %. With intervals, by the three measures of {measured}, the maps are "
        f"{localisation.in_words(signs)} beside the blob."
    )
