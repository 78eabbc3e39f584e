"""The compared systems as their chapter shows them."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.data.attributes import GROUPS
from reidkit.models.heads import CircleSoftmax, LinearClassifier
from reidkit.profile import Profile
from reidkit.published import JOINT_LOSS, SAN_GAL_OURS, SAN_GAL_TABLE_2
from reidkit.records import Record
from reidkit.report.chapters import comparison as shown
from reidkit.report.chapters.systems import some_batch
from reidkit.report.differences import with_interval
from reidkit.report.rows import difference, records_behind
from reidkit.systems import ROWS, build_network
from reidkit.systems.system import Classes
from tests.report.conftest import MakeRecord, check_page


def test_every_system_of_the_printed_tables_is_named_once_and_built_or_said_why_not() -> None:
    printed = {
        row.method
        for table in [*list(JOINT_LOSS.values())[1:], *SAN_GAL_TABLE_2]
        for row in table.rows
        if row.cell is None
    }
    names = [rival.printed for rival in shown.RIVALS]
    assert sorted(names) == sorted(printed)
    assert all(rival.row in ROWS if rival.row else rival.remark for rival in shown.RIVALS)
    assert len(shown.variants()) == 19


@pytest.mark.parametrize("row", ["none/ce", "osnet", "spreid"])
def test_the_cost_is_that_of_the_network(row: str) -> None:
    profile = Profile.read("synthped-compared")
    parameters, work, length = shown.cost(profile, row, identities=10)
    config = profile.config(row)
    network = build_network(row, 10, **config.model_dump(include={"width_multiplier", "residual_scale", "weights"}))
    assert parameters * 1e6 == pytest.approx(sum(p.numel() for p in network.parameters()))
    assert length > 0
    assert 1 < work < 100


def test_the_table_says_what_else_a_system_learns_from() -> None:
    rows = ["none/ce", "aanet", "spreid", SAN_GAL_OURS]
    found = shown.costs(Profile.read("synthped-compared"), rows).set_index("row")["told"]
    assert found.to_dict() == dict(zip(rows, ["", "attributes", "part maps", "attributes"], strict=True))


def test_guided_attention_costs_what_draws_its_maps() -> None:
    profile = Profile.read("synthped-compared")
    alone, guided = (shown.cost(profile, row, identities=10) for row in ("IDonly", "ID+attrAttention"))
    assert guided[0] > 1.5 * alone[0]  # another network's weights
    assert guided[1] > 5 * alone[1]  # a backward pass for each attribute


def test_seeds_that_lie_apart_are_told(make_record: MakeRecord) -> None:
    def seeds(*qualities: float) -> list[Record]:
        return [make_record(seed=seed, quality=quality) for seed, quality in enumerate(qualities)]

    runs = {"pcb": seeds(0.3, 0.6), "vpm": seeds(0.5, 0.6), "bfe": seeds(0.5, 0.5), "osnet": seeds(0.5)}
    low, high = (f"{100 * runs['pcb'][seed].metrics['mAP']:.1f}" for seed in (0, 1))
    told = shown.spread_in_words(runs)
    assert f"its own: {low} to {high} for PCB, " in told
    assert "for BFE. So" in told
    assert shown.spread_in_words({}) == ""


def test_cost_in_words_is_that_of_the_cheap_and_of_osnet(make_record: MakeRecord) -> None:
    lines = [("none/ce", 60.0, 1.0), ("none/ce+tri", 60.0, 1.05), ("bfe", 70.0, 1.2), ("osnet", 20.0, 1.5)]
    found = pd.DataFrame(lines, columns=["row", "multiply-adds", "step"])
    runs = {row: [make_record(quality=quality)] for (row, *_), quality in zip(lines, (0.5, 0.6, 0.8, 0.9), strict=True)}
    told = shown.costs_in_words(found, runs)
    assert told.startswith(
        "Of the two whose step costs at most 1.1 plain ones, SAN-GAL left out, *plain, triplet loss* has"
    )
    assert "0.3 of the plain network's multiply-adds and 1.5 of its time" in told
    assert "not been compared" in shown.costs_in_words(found, {})


def test_the_table_puts_the_best_first_and_the_chart_draws_what_was_run(make_record: MakeRecord) -> None:
    runs = {"none/ce": [make_record(quality=0.5)], "none/ce+tri": [make_record(loss="ce+tri", quality=0.8)]}
    found = shown.costs(Profile.read("synthped-compared"), ["none/ce", "none/ce+tri", "osnet"])
    table = shown.ranking_table(found, {"toy": runs, "Market-1501": {}})
    assert table["System"].tolist() == ["plain, triplet loss", "plain, cross-entropy", "OSNet"]
    assert table["toy"].tolist()[-1] == "–"
    figure, alt = shown.cost_chart(found, runs)
    check_page(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*table["System"][:2]]
    scores, works, steps = (axes.lines[0].get_xdata() for axes in figure.axes)
    assert scores == pytest.approx([100 * runs[row][0].metrics["mAP"] for row in ("none/ce+tri", "none/ce")])
    assert works == pytest.approx(found["multiply-adds"][:2])
    assert steps == pytest.approx(found["step"][[1, 0]])
    assert f"plain, cross-entropy {scores[1]:.1f} at {works[1]:.0f} and 1.0." in alt
    assert "OSNet" not in alt
    assert len(records_behind({"toy": runs}, shown.NAMES)) == 2


def before_classifiers(row: str, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], bool]:
    """Of a row's network in training: what its classifiers see ("norm", if a batch norm's output), and any dropout."""
    config = Profile.read("synthped-compared").config(row).from_scratch()
    classes = Classes(5, GROUPS["market_attribute"] if "attributes" in config.needs else ())
    network = ROWS[row].build(config, classes).train()
    normed, seen, dropped = list[Tensor](), set[str](), list[float]()

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.BatchNorm1d):
            normed.append(output.detach())
        elif isinstance(module, LinearClassifier | CircleSoftmax):
            known = torch.cat([values.flatten() for values in normed]) if normed else torch.zeros(0)
            seen.add("norm" if torch.isin(inputs[0], torch.cat([known, torch.zeros(1)])).all() else "features")

    def clamped(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        normed.append(output.detach())

    for module in network.modules():
        module.register_forward_hook(clamped if isinstance(module, nn.ReLU) else look)
    plain = F.dropout
    monkeypatch.setattr(F, "dropout", lambda x, p, *rest: dropped.append(p) or plain(x, p, *rest))
    network.losses(some_batch(config, classes))
    return seen, bool(dropped)


@pytest.mark.parametrize("row", [row for row in shown.NAMES if row != SAN_GAL_OURS])
def test_marks_say_what_stands_before_the_classifier(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, drops = before_classifiers(row, monkeypatch)
    marks = shown.marks(row)
    assert (shown.NONE in marks) == ("features" in seen)
    assert (shown.DROPOUT in marks) == drops
    if shown.ADDED in marks:
        assert seen == {"norm"}


def test_the_table_marks_systems_and_its_note_explains_the_marks() -> None:
    profile = Profile.read("synthped-compared")
    table = shown.ranking_table(shown.costs(profile, ["none/ce", "aanet", "svdnet"]), {"toy": {}})
    assert table["System"].tolist() == ["plain, cross-entropy", "AANet ‡ (attributes)", "SVDNet ‡§"]
    told = shown.marks_in_words(profile)
    assert all(f"{mark}: " in told for mark in (shown.ADDED, shown.NONE, shown.DROPOUT))
    assert told.endswith("At this width nothing of it is left, but in PAN.")


def test_the_answer_names_who_is_clearly_better(make_record: MakeRecord) -> None:
    def seeds(*row: str, quality: float) -> list[Record]:
        return [make_record(*row, seed=seed, quality=quality) for seed in (0, 1, 2)]

    runs = {"cbam/ce+tri+cir": seeds("cbam", "ce+tri+cir", quality=0.5)}
    assert shown.answer(runs, "SynthPed") == f"Of {len(shown.NAMES)} rows 1 have been run on SynthPed so far."
    better = runs | {"osnet": seeds("se", quality=0.9), "pcb": seeds("eca", quality=0.2)}
    told = shown.answer(better, "SynthPed")
    ahead = "Li and Wang's method is ahead of one and behind OSNet"
    assert told.endswith(f"Of two systems of other people, {ahead}.")
    both = better | {"ID+attrAttention": seeds("cbam", "ce+tri+cir", quality=0.1), "bfe": seeds("danet", quality=0.5)}
    assert shown.answer(both, "SynthPed").endswith(f"{ahead}; SAN-GAL is ahead of none and behind PCB, OSNet and BFE.")
    assert "no verdict" not in told
    one = shown.answer({row: better[row] for row in ("cbam/ce+tri+cir", "osnet")}, "toy")
    assert one.endswith("Of one system of other people, Li and Wang's method is ahead of none and behind OSNet.")
    plain = shown.answer(better | {"none/ce+tri": seeds("none", "ce+tri", quality=0.6)}, "toy")
    gain = with_interval(
        difference(better | {"none/ce+tri": seeds("none", "ce+tri", quality=0.6)}, "cbam/ce+tri+cir", "none/ce+tri")
    )
    assert f"Over the plain network with triplet loss, Li and Wang's method has {gain} points of mAP. Of two" in plain
    alone = {row: records[:1] for row, records in better.items()}
    assert shown.answer(alone, "Market-1501").endswith("this is of the people alone, and no verdict yet.")
    assert np.isfinite(shown.score(better, "osnet").ours)


def test_stripes_are_compared_with_one(make_record: MakeRecord) -> None:
    runs = {"none/ce": [make_record()], "pcb": [make_record("se", quality=0.7)]}
    assert shown.stripes_in_words(runs) == "PCB has not been run with one stripe yet."
    told = shown.stripes_in_words(runs | {"pcb/one-stripe": [make_record("eca", quality=0.3)]})
    assert told.startswith("PCB's stripes are worth +")
    assert "That one lies −" in told


def test_ianets_weights_are_told_as_they_were_measured(make_record: MakeRecord) -> None:
    record = make_record("se", quality=0.7)
    weights = {"module": ["a", "b", "c"], "weighs": ["places", "channels", "places"], "mean": 0.1}
    record.tables["attention"] = pd.DataFrame({**weights, "within": [0.01, 4, 0.02], "between": [0.001, 7, 0.002]})
    record.tables["frozen"] = record.queries[["query", "average_precision", "first_match_rank"]]
    runs = {"ianet": [record], "none/ce+tri": [make_record(loss="ce+tri")]}
    told = shown.ianet_in_words(runs)
    assert "differ by 1.0 to 2.0 % of their mean from place to place, and by 0.1 to 0.2 % from picture" in told
    assert "its weights of channels differ by 7.0 to 7.0 times their mean" in told
    assert told.endswith("changes mAP by 0.00 [0.0 to 0.0].")
    assert "divides by the sum has " in shown.ianet_in_words(runs | {"ianet/normalised": [make_record("eca")]})
    without = runs | {"ianet/none": [make_record("danet")]}
    assert (
        f"without its modules it is {with_interval(difference(without, 'ianet', 'ianet/none'))}."
        in shown.ianet_in_words(without)
    )
    assert shown.ianet_in_words({}) == "IANet has not been run yet."


def test_what_ianets_modules_are_worth_is_told_beside_the_network_without_them(make_record: MakeRecord) -> None:
    qualities = {"ianet/none": ("none", 0.6), "ianet": ("se", 0.7), "ianet/normalised": ("eca", 0.8)}
    runs = {row: [make_record(attention, quality=of)] for row, (attention, of) in qualities.items()}
    told = shown.selecting_in_words(runs)
    assert f"has {with_interval(difference(runs, 'ianet/normalised', 'ianet'))} points of mAP over that, and" in told
    whole = with_interval(difference(runs, "ianet/normalised", "ianet/none"))
    assert told.endswith(f"and {whole} over the same network and losses without its modules.")
    assert "not been run" in shown.selecting_in_words({"ianet": runs["ianet"]})


def test_how_far_two_data_sets_agree_is_told_of_the_rows_that_both_have(make_record: MakeRecord) -> None:
    rows = dict.fromkeys((shown.PLAIN, "pcb", "osnet", "bfe", "vpm"))

    def runs(*quality: float) -> shown.Runs:
        return {row: [make_record(quality=of)] for row, of in zip(rows, quality, strict=True)}

    toy, turned = runs(0.5, 0.6, 0.7, 0.8, 0.9), runs(0.5, 0.4, 0.3, 0.2, 0.1)
    assert "four are on the same side" in shown.agreement_in_words({"toy": toy, "real": toy})
    assert shown.agreement_in_words({"toy": toy, "real": toy}).endswith("ρ = 1.00.")
    assert "none are on the same side" in shown.agreement_in_words({"toy": toy, "real": turned})
    assert shown.agreement_in_words({"toy": toy, "real": turned}).endswith("ρ = −1.00.")
    assert shown.agreement_in_words({"toy": toy, "real": {shown.PLAIN: toy[shown.PLAIN]}}) == ""


def test_osnet_is_told_with_what_it_costs(make_record: MakeRecord) -> None:
    profile = Profile.read("synthped-compared")
    runs = {"osnet": [make_record("se", quality=0.8)], "none/ce+tri": [make_record(loss="ce+tri")]}
    told = shown.osnet_in_words(profile, runs)
    assert re.search(r"has \+[\d.]+ \[.*\] \(people alone\) points of mAP over the plain network", told)
    assert told.endswith("5 million multiply-adds an image instead of 17, both at the width of these runs.")
    assert shown.osnet_in_words(profile, {}) == "OSNet has not been run yet."
