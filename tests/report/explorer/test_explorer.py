"""The explorer: that each choice shows what it says, from records alone, and what a kernel adds."""

import contextlib
import datetime
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from reidkit.models import ATTENTION
from reidkit.profile import Profile
from reidkit.published import SAN_GAL_OURS, TABLE_1
from reidkit.report.explorer import experiments as of_profile
from reidkit.report.explorer import live, panels, pictures
from reidkit.report.explorer.experiments import Experiment, overview
from reidkit.report.explorer.pictures import QUERIES, RESULTS
from reidkit.report.explorer.widgets import explorer
from reidkit.report.rows import Spread, gain
from reidkit.report.verdicts import compare
from reidkit.runs import find_record, heat_maps, open_dataset, run
from reidkit.systems import SYSTEMS
from reidkit.systems.joint_loss import GRID, LOSSES
from tests.report.conftest import MakeRecord

RUN = ("none/ce", "se/ce", "attributes", "IDonly", SAN_GAL_OURS)  # what the fixture `plan` has trained


@pytest.fixture(scope="module")
def plan(synthped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profile]:
    """A profile on a few rendered people, with some of its runs finished and their heat maps stored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REIDKIT_BUILD", str(tmp_path_factory.mktemp("explorer")))
        patch.setattr("reidkit.models.backbone.EVERY_BLOCK", (1, 1, 1, 1))
        plan = Profile.read("smoke", data_root=str(synthped), precision="fp32")
        for name in RUN:
            run(plan.config(name), progress=False)
        for split in ("query", "gallery"):
            heat_maps(plan.config("attributes"), split, progress=False)
        yield plan


def toy(plan: Profile) -> list[Experiment]:
    """The experiments of the profile alone: those of published records cost seconds, and show nothing else."""
    return [experiment for experiment in of_profile.experiments(plan) if experiment.profile is plan]


@pytest.fixture(scope="module")
def experiments(plan: Profile) -> list[Experiment]:
    return toy(plan)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Which dropdown moves which stack, as the browser will be told."""
    made: list[tuple[Any, Any]] = []

    def link(source: tuple[Any, str], target: tuple[Any, str]) -> None:
        assert (source[1], target[1]) == ("index", "selected_index")
        made.append((source[0], target[0]))

    monkeypatch.setattr(ipywidgets, "jsdlink", link)
    return made


def shown(widget: Any) -> str:
    """What is to be seen of a widget: of a stack, the chosen child alone."""
    if isinstance(widget, ipywidgets.Stack):
        return shown(widget.children[widget.selected_index])
    if isinstance(widget, ipywidgets.Box):
        return "".join(map(shown, widget.children))
    return widget.value if isinstance(widget, ipywidgets.HTML) else ""


def all_html(widget: Any) -> set[Any]:
    """All HTML widgets, each once."""
    found = {widget} if isinstance(widget, ipywidgets.HTML) else set()
    return found.union(*map(all_html, getattr(widget, "children", ())))


def choices(widget: Any) -> dict[str, Any]:
    """The dropdowns to be seen, by what is written beside them."""
    if isinstance(widget, ipywidgets.Stack):
        return choices(widget.children[widget.selected_index])
    if isinstance(widget, ipywidgets.Box):
        return {name: found for child in widget.children for name, found in choices(child).items()}
    return {widget.description: widget} if isinstance(widget, ipywidgets.Dropdown) else {}


def choose(links: list[tuple[Any, Any]], widget: Any, name: str, index: int) -> None:
    """What a reader's choice does in the browser."""
    dropdown = choices(widget)[name]
    dropdown.index = index
    for source, stack in links:
        if source is dropdown:
            stack.selected_index = index


# ----------------------------------------------------------------------------------------------------------- choosing


def test_there_is_an_experiment_for_each_paper_and_data_set() -> None:
    found = of_profile.experiments(Profile.read("synthped"))
    assert [experiment.name for experiment in found] == [
        "Joint loss: SynthPed (toy)",
        "Joint loss: Market-1501 (small)",
        "SAN-GAL: SynthPed (toy)",
        "SAN-GAL: SynthPed duke-like (toy)",
        "SAN-GAL: Market-1501 (small)",
    ]
    assert [experiment.table.dataset for experiment in found[2:]] == ["market1501", "dukemtmcreid", "market1501"]
    assert len({experiment.slug for experiment in found}) == len(found)
    assert len(of_profile.experiments(Profile.read("market1501-small"))) == 2  # not twice the same
    with pytest.raises(ValueError, match="no experiment"):
        explorer([])


def test_every_choice_shows_its_own_run(experiments: list[Experiment], links: list[tuple[Any, Any]]) -> None:
    page = explorer(experiments)
    for number, experiment in enumerate(experiments):
        choose(links, page, "Data", number)
        for cell in experiment.rows:
            if experiment.system.choices:
                attention, loss = cell.split("/")
                choose(links, page, "Attention", list(ATTENTION).index(attention))
                choose(links, page, "Loss", list(LOSSES).index(loss))
            else:
                choose(links, page, "Run", experiment.rows.index(cell))
            text = shown(page)
            assert f"<strong>{experiment.label(cell)}</strong>" in text
            for record in experiment.records[cell]:
                assert record.name in text
            if not experiment.records[cell]:
                assert f"reidkit run {experiment.profile.profile} --row {cell} --seed 0" in text
                assert "<svg" not in text
            else:
                assert "CMC curve" in text
                assert "Training loss" in text
                assert ("Against the baseline" in text) == (cell != experiment.rows[0])


def test_query_and_stage_choose_among_the_pictures(experiments: list[Experiment], links: list[tuple[Any, Any]]) -> None:
    page = explorer(experiments)
    choose(links, page, "Data", 1)
    choose(links, page, "Run", experiments[1].rows.index(SAN_GAL_OURS))
    seen = set()
    for query in range(len(QUERIES)):
        choose(links, page, "Query", query)
        for stage in range(3):
            choose(links, page, "Stage", stage)
            text = shown(page)
            names = re.search(r"Query <code>(.+?)</code>.*Heat maps of <code>(.+?)</code> at (layer\d)", text, re.S)
            assert names is not None
            assert names[1] == names[2]
            assert names[3] == f"layer{stage + 2}"
            seen.add(names[1])
    assert len(seen) == len(QUERIES)
    choose(links, page, "Run", 0)  # IDonly reads no heat maps
    assert "Stage" not in choices(page)


# ------------------------------------------------------------------------------------------------------------ numbers


def test_scores_are_those_of_the_table(experiments: list[Experiment]) -> None:
    experiment = experiments[0]
    printed = compare(TABLE_1, [record for records in experiment.records.values() for record in records])
    for line in printed.to_dict("records"):
        scores = experiment.scores(line["cell"]).set_index("metric").loc[line["metric"]]
        for column in ("paper", "ours", "low", "high", "verdict"):
            assert scores[column] == line[column] or np.isnan(line[column])


def test_a_run_that_the_paper_does_not_print_has_no_verdict_on_it(make_record: MakeRecord) -> None:
    experiment = Experiment(SYSTEMS["joint-loss"], Profile.read("market1501"))
    record = make_record("se", "ce+tri")
    experiment.__dict__["records"] = {cell: [record] if cell == "se/ce+tri" else [] for cell in GRID}
    scores = experiment.scores("se/ce+tri")
    assert set(scores["verdict"]) == {"not printed"}
    assert scores["paper"].isna().all()
    assert scores["ours"].tolist() == pytest.approx([100 * record.metrics[metric] for metric in scores["metric"]])
    assert set(experiment.comparison["verdict"]) == {"not printed", "not run"}
    panel = panels.row_panel(experiment, "se/ce+tri")
    assert f"{100 * record.metrics['mAP']:.2f}" in panel
    assert "Not run: the baseline" in panel
    assert f'<a href="runs/{record.name}.html">' in panel
    assert "<a " not in panels.row_panel(experiment, "se/ce+tri", links=False)


def test_cmc_against_a_naive_loop(make_record: MakeRecord) -> None:
    records = [make_record(seed=seed, queries=30) for seed in (0, 1)]
    curve = panels.cmc(records, 7)
    for k in range(1, 8):
        shares = []
        for record in records:
            ranks = [rank for rank in record.queries["first_match_rank"] if rank >= 1]
            shares.append(sum(rank <= k for rank in ranks) / len(ranks))
        assert curve[k - 1] == pytest.approx(100 * sum(shares) / 2)
    assert curve[0] == pytest.approx(50 * sum(record.metrics["rank-1"] for record in records))


def test_query_differences_are_sorted_and_average_to_the_gain(make_record: MakeRecord) -> None:
    base, ours = [make_record("none")], [make_record("se", quality=0.7)]
    found = panels.query_differences(ours, base)
    assert len(found) == 199  # the query without a match is left out
    assert found["difference"].is_monotonic_decreasing
    before, after = (r[0].queries.set_index("query")["average_precision"] for r in (base, ours))
    for line in found.reset_index().to_dict("records"):
        assert line["difference"] == pytest.approx(100 * (after[line["query"]] - before[line["query"]]))
    assert found["difference"].mean() == pytest.approx(gain(ours, base, Spread())["mAP"].ours)


def test_data_that_no_table_is_about_and_systems_without_a_paper_are_explored(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord, tmp_path: Path
) -> None:
    """One's own pictures, and a system that prints no table, whose readings and rows have names of their own."""
    own = Profile.read("market1501-small", dataset="own", data_root=str(tmp_path), profile="mine")
    monkeypatch.setattr("reidkit.settings.files_checksum", lambda *_: "none")
    new = replace(SYSTEMS["joint-loss"], name="new", title="New", choices={}, rows={"base": {}, "base/wide": {}})
    monkeypatch.setitem(SYSTEMS, "new", new)
    chosen = [Experiment(SYSTEMS["joint-loss"], own), Experiment(SYSTEMS["san-gal"], own), Experiment(new, own)]
    record = make_record(dataset="own")
    for experiment in chosen:
        experiment.__dict__["records"] = {row: [] for row in experiment.rows}
    chosen[0].records["none/ce"].append(record)
    assert set(chosen[0].scores("none/ce")["verdict"]) == {"not printed"}
    assert [chosen[2].label(row) for row in chosen[2].rows] == ["base", "base, wide"]
    assert chosen[2].bases("base/wide") == {"the baseline": "base"}
    for experiment in chosen[:2]:
        assert len(overview(experiment)) == len(experiment.rows)
    assert record.name in shown(explorer(chosen[:2]))


def test_the_plain_table_has_every_run(experiments: list[Experiment]) -> None:
    for experiment in experiments:
        frame = overview(experiment)
        assert frame["Run"].tolist() == [experiment.label(cell) for cell in experiment.rows]
        run_ = [bool(records) for records in experiment.records.values()]
        assert (frame["mAP here"].notna() == run_).all()
        assert ((frame["Verdict on mAP"] != "not run") == run_).all()


# ----------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(("number", "cell"), [(0, "se/ce"), (1, "IDonly"), (1, SAN_GAL_OURS)])
def test_ranked_lists_agree_with_the_record(experiments: list[Experiment], number: int, cell: str) -> None:
    """Which needs the right queries, weights and heat maps."""
    experiment = experiments[number]
    found = pictures.pictures(experiment, "rx")
    assert found is not None
    record = experiment.records[cell][0]
    for place, query in enumerate(found.queries):
        right = found.dataset.gallery.ids[found.top[cell][place]] == found.dataset.query.ids[query]
        first = int(right.int().argmax()) + 1 if right.any() else 0
        rank = record.queries["first_match_rank"][query]
        assert first == (rank if rank <= RESULTS else 0)
        panel = BeautifulSoup(pictures.list_panel(found, cell, place, record), "html.parser")
        assert [bool(thumb) for thumb in right] == [
            "rx-right" in thumb["class"] for thumb in panel.select(".rx-right, .rx-wrong")
        ]


def test_no_picture_of_real_people_is_shown(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(SYSTEMS["joint-loss"], Profile.read("market1501"))
    record = make_record()
    record.queries["results"] = "0 1"
    experiment.__dict__["records"] = {cell: [record] if cell == "none/ce" else [] for cell in GRID}
    monkeypatch.setattr(pictures, "open_dataset", lambda *_, **__: pytest.fail("the data set was opened"))
    assert pictures.pictures(experiment, "rx") is None
    assert "rx-thumb" not in panels.row_panel(experiment, "none/ce")


def test_every_picture_has_a_text_and_stands_in_the_page_once(experiments: list[Experiment]) -> None:
    whole = "".join(panel.value for panel in all_html(explorer(experiments)))
    sheets = re.findall(r'url\("(data:image/[^"]+)"\)', whole)
    assert len(sheets) == len(set(sheets)) == 2 * 3 + 3 * 3  # two experiments' queries, and their heat maps
    soup = BeautifulSoup(whole, "html.parser")
    assert not soup.select("img")
    drawn = soup.select("svg, .rx-thumb")
    assert len(drawn) > 100
    assert [tag for tag in drawn if tag["role"] != "img" or len(tag["aria-label"]) < 5] == []
    for tag in soup.select(".rx-thumb"):  # each finds its sheet
        assert any(f".{name}{{" in whole for name in tag["class"])
    assert len(json.dumps(whole)) < 2e6


# ------------------------------------------------------------------------------------------------------ with a kernel


def test_a_missing_run_is_trained_and_then_explored(plan: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    only = toy(plan)
    monkeypatch.setattr(live, "experiments", lambda _: [replace(experiment) for experiment in only[:1]])
    page = live.live(plan)
    training = page.children[1]
    missing, button, _ = training.children
    before = [cell for _, cell in missing.options]
    assert "eca/ce" in before
    assert not {*RUN} & {*before}
    missing.value = "eca/ce"
    assert find_record(plan.config("eca/ce")) is None
    old = page.children[0]
    button.click()
    record = find_record(plan.config("eca/ce"))
    assert record is not None
    assert [cell for _, cell in missing.options] == [cell for cell in before if cell != "eca/ce"]
    assert not button.disabled
    assert page.children[0] is not old
    assert page.children[1] is training
    assert "ECA, CE: Baseline(+ECA)" in [label for label, _ in page.children[2].children[0].options]
    assert record.name in "".join(panel.value for panel in all_html(page.children[0]))


def test_a_run_that_fails_says_so_and_leaves_the_button(plan: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = []
    box = live.training(plan, lambda: renewed.append(True))

    def fails(_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(live, "run", fails)
    with contextlib.suppress(RuntimeError):  # in a notebook, the output shows it
        box.children[1].click()
    assert not box.children[1].disabled
    assert not renewed


def upload(content: bytes) -> tuple[dict[str, Any], ...]:
    now = datetime.datetime.now(datetime.UTC)
    file = {"name": "mine.png", "type": "image/png", "size": len(content), "content": memoryview(content)}
    return ({**file, "last_modified": now},)


def test_the_most_similar_picture_to_one_of_the_gallery_is_itself(plan: Profile, experiments: list[Experiment]) -> None:
    gallery = open_dataset(plan).gallery
    network, files, answer = live.own_picture(plan).children
    assert not files.disabled
    path = gallery.paths[3]
    with Image.open(path) as image:
        file = io.BytesIO()
        image.save(file, "PNG")
    files.value = upload(file.getvalue())
    images = BeautifulSoup(answer.value, "html.parser").select("img")
    assert len(images) == 1 + RESULTS
    assert images[0]["alt"] == "your picture"
    assert images[1]["alt"] == path.name
    assert "1: 1.00" in answer.value
    before = answer.value
    network.index = 1  # another network, the same picture
    assert answer.value != before


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_what_is_no_picture_is_said_to_be_none(plan: Profile, content: bytes) -> None:
    _, files, answer = live.own_picture(plan).children
    files.value = upload(content)
    assert "no picture that can be read" in answer.value


def test_no_upload_where_no_network_is(plan: Profile, build: Path) -> None:
    network, files, answer = live.own_picture(plan).children
    assert files.disabled
    assert not network.options
    assert "train one first" in answer.value
