"""The explorer: that its data say what the records say, and what a kernel adds."""

import base64
import datetime
import io
import itertools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from reidkit.profile import Profile
from reidkit.published import SAN_GAL_OURS, TABLE_1
from reidkit.records import RecordError
from reidkit.report.explorer import experiments as of_profile
from reidkit.report.explorer import live, pictures
from reidkit.report.explorer.contents import METRICS, cmc, contents, varied
from reidkit.report.explorer.experiments import Experiment, overview
from reidkit.report.explorer.page import Explorer
from reidkit.report.explorer.sides import Side, gains, sides
from reidkit.report.pair import pair
from reidkit.report.rows import METRICS as MEASURED
from reidkit.report.rows import PEOPLE, gain, query_scores
from reidkit.report.verdicts import compare
from reidkit.runs import find_record, heat_maps, open_dataset, run
from reidkit.systems import SYSTEMS
from reidkit.systems.joint_loss import GRID
from reidkit.systems.system import RESULTS
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


@pytest.fixture(scope="module")
def experiments(plan: Profile) -> list[Experiment]:
    """Those of the profile alone: what is published of others costs seconds, and shows nothing else."""
    return [experiment for experiment in of_profile.experiments(plan) if experiment.profile is plan]


@pytest.fixture(scope="module")
def told(experiments: list[Experiment]) -> dict[str, Any]:
    """What the script is given, of the one data set."""
    (data,) = contents(experiments)["data"]
    return dict(data)


@pytest.fixture
def market(make_record: MakeRecord) -> Experiment:
    """The joint-loss rows on the paper's data, of which some were run with made-up outcomes, one with two seeds."""
    experiment = Experiment(SYSTEMS["joint-loss"], Profile.read("market1501"))
    experiment.__dict__["records"] = {row: [] for row in experiment.rows} | {
        "none/ce": [make_record("none", seed=seed) for seed in (0, 1)],
        "se/ce": [make_record("se", seed=seed, quality=0.7) for seed in (0, 1)],
        "se/ce+tri": [make_record("se", "ce+tri")],
    }
    return experiment


def numbers(text: str, kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), kind)


# ----------------------------------------------------------------------------------------------- what can be compared


def test_there_is_an_experiment_for_each_system_and_what_is_published_of_others() -> None:
    found = of_profile.experiments(Profile.read("synthped"))
    names = [(experiment.system.name, experiment.profile.profile) for experiment in found]
    assert names[:3] == [("joint-loss", "synthped"), ("san-gal", "synthped"), ("san-gal", "synthped-duke")]
    assert ("joint-loss", "market1501-small") in names
    assert len(set(names)) == len(names) == len({experiment.slug for experiment in found})
    for experiment in found[3:]:
        assert any(experiment.records.values())
        assert not experiment.profile.validation_identities
    runs = [{r.name for records in e.records.values() for r in records} for e in found]
    assert all(of - set().union(*runs[:n]) for n, of in enumerate(runs) if n > 2)  # none only repeats what others have
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", Experiment(s, found[0].profile).slug) for s in SYSTEMS.values())
    assert {e.slug for e in of_profile.tabled(found)} >= {"joint-loss-synthped", "san-gal-synthped"}
    assert "bfe" not in {e.system.name for e in of_profile.tabled(found)}  # it has one row
    with pytest.raises(ValueError, match="no experiment"):
        contents([])


def test_a_row_that_is_another_one_under_a_profile_is_not_offered_twice() -> None:
    """From full branches, a start from full branches is no control."""
    small = Experiment(SYSTEMS["joint-loss"], Profile.read("market1501-small", residual_scale=1.0))
    assert "none/ce/full-start" not in small.rows
    assert "none/ce/full-start" in Experiment(SYSTEMS["joint-loss"], Profile.read("market1501-small")).rows
    assert small.rows[: len(GRID)] == tuple(GRID)


def test_the_sides_are_rows_and_their_seeds(market: Experiment) -> None:
    assert [side.key for side in sides([market])] == [
        "market1501:none/ce",
        "market1501:none/ce@0",
        "market1501:none/ce@1",
        "market1501:se/ce",
        "market1501:se/ce@0",
        "market1501:se/ce@1",
        "market1501:se/ce+tri",
    ]


def test_gains_are_those_of_the_tables_and_of_a_pair_of_runs(market: Experiment) -> None:
    chosen = sides([market])
    found = gains(chosen)
    for number, (base, ours) in enumerate(itertools.combinations(chosen, 2)):
        if base.seed is None and ours.seed is None:
            expected = list(gain(market.records[ours.row], market.records[base.row], market.spread).values())
            assert found.covers[number] == expected[0].covers
        elif len(base.records) == len(ours.records) == 1:
            scores = pair(base.records[0], ours.records[0])[0].set_index("metric")
            assert found.low[number] == pytest.approx(scores["low"].to_numpy())
            assert found.covers[number] == PEOPLE
            continue
        else:
            continue
        assert found.mean[number] == pytest.approx([estimate.ours for estimate in expected])
        assert found.low[number] == pytest.approx([estimate.low for estimate in expected])
        assert found.high[number] == pytest.approx([estimate.high for estimate in expected])


def test_a_gain_over_another_experiment_covers_the_seeds_of_both_or_says_that_it_does_not(
    market: Experiment, make_record: MakeRecord
) -> None:
    other = Experiment(SYSTEMS["joint-loss"], Profile.read("market1501-small", residual_scale=1.0))
    other.__dict__["records"] = {row: [] for row in other.rows} | {"none/ce": [make_record("none", batch_size=32)]}
    market.records["none/ce"] = [make_record("none", seed=seed) for seed in range(4)]
    alone = gains([*sides([market])[:1], *sides([other])])
    assert alone.covers == [PEOPLE]
    other.records["eca/ce"] = [
        make_record("eca", seed=seed, batch_size=32, quality=0.4 + 0.1 * seed) for seed in range(4)
    ]
    del other.__dict__["spread"]
    both = gains([*sides([market])[:1], *sides([other])[:1]])
    assert both.covers == ["widened"]
    assert (both.high - both.low > alone.high - alone.low).all()


def test_runs_of_other_data_or_queries_are_not_compared(market: Experiment, make_record: MakeRecord) -> None:
    first, other = Side(market, "none/ce", None, (make_record(),)), make_record("se")
    other.provenance["data"] = "another"
    with pytest.raises(RecordError, match="different data"):
        gains([first, Side(market, "se/ce", None, (other,))])
    with pytest.raises(RecordError, match="different queries"):
        gains([first, Side(market, "se/ce", None, (make_record("se", queries=100),))])


# ------------------------------------------------------------------------------------------------------------ numbers


def test_scores_and_verdicts_are_those_of_the_table(market: Experiment) -> None:
    printed = compare(TABLE_1, [record for records in market.records.values() for record in records])
    for line in printed[printed["seeds"] > 0].to_dict("records"):
        scores = market.scores[line["cell"]][line["metric"]]
        assert (scores.ours, scores.low, scores.high, scores.covers) == tuple(
            line[column] for column in ("ours", "low", "high", "covers")
        )
        assert market.verdict(line["cell"], line["metric"]) == line["verdict"]
    assert market.verdict("se/ce+tri") == "not printed"
    assert market.verdict("eca/ce") == "not run"


def test_the_script_is_given_what_the_records_say(market: Experiment) -> None:
    found = contents([market], linked={market.records["se/ce"][0].name})
    (data,), (setting,) = found["data"], found["settings"]
    assert found["metrics"][0] == "mAP"
    assert not data["toy"]
    assert data["pictures"] is data["heat"] is None
    for side, of in zip(data["sides"], sides([market]), strict=True):
        means = query_scores(of.records).mean()
        assert side["scores"] == pytest.approx([means[metric] for metric in METRICS], abs=0.006)
        assert [data["runs"][run]["name"] for run in side["runs"]] == [record.name for record in of.records]
        assert (side["paper"] is None) == (of.row == "se/ce+tri")
    for record, run_ in zip([r for rs in market.records.values() for r in rs], data["runs"], strict=True):
        precision = 100 * record.queries["average_precision"].fillna(-0.0001)
        assert numbers(run_["precision"], "<i2") / 100 == pytest.approx(precision.to_numpy(), abs=0.006)
        assert (numbers(run_["first"], "<u2") == record.queries["first_match_rank"]).all()
        assert run_["cmc"] == pytest.approx(cmc(record), abs=0.006)
        assert run_["link"] == (record is market.records["se/ce"][0])
    means, order = gains(sides([market])).mean, [MEASURED.index(metric) for metric in METRICS]
    assert numbers(data["gains"]["mean"], "<i2") / 100 == pytest.approx(means[:, order].ravel(), abs=0.006)
    grid = setting["tables"][0]
    assert [len(line["cells"]) for line in grid["lines"]] == [3] * 6
    chosen = [cell["side"] for line in grid["lines"] for cell in line["cells"] if cell["side"]]
    assert chosen == ["market1501:none/ce", "market1501:se/ce", "market1501:se/ce+tri"]
    assert setting["command"] == "reidkit run market1501 --row none/ce+tri"


def test_no_table_stands_for_a_system_of_one_or_two_rows() -> None:
    compared = Profile.read("synthped-compared")
    chosen = [Experiment(SYSTEMS[name], compared) for name in ("joint-loss", "pcb", "osnet")]
    for experiment in chosen:
        experiment.__dict__["records"] = {row: [] for row in experiment.rows}
    (setting,) = contents(chosen)["settings"]
    assert [table["title"] for table in setting["tables"]][-1] == "Compared systems"
    assert [line["title"] for line in setting["tables"][-1]["lines"]] == [
        "PCB",
        "PCB: pcb+rpp",
        "PCB: pcb/one-stripe",
        "OSNet",
    ]


def test_cmc_against_a_naive_loop(make_record: MakeRecord) -> None:
    record = make_record(queries=30)
    ranks = [rank for rank in record.queries["first_match_rank"] if rank >= 1]
    for k, share in enumerate(cmc(record, 7), start=1):
        assert share == pytest.approx(100 * sum(rank <= k for rank in ranks) / len(ranks))
    assert cmc(record)[0] == pytest.approx(100 * record.metrics["rank-1"])


def test_settings_are_told_where_they_differ(make_record: MakeRecord, make_san_gal_record: MakeRecord) -> None:
    records = [make_record(), make_record("se", seed=1), make_san_gal_record(SAN_GAL_OURS, attributes={"epochs": 7})]
    one, two, three = varied(records).values()
    assert (one["attention"], two["attention"]) == ("none", "se")
    assert "attention" not in three
    assert three["attributes.epochs"] == "7"
    assert "seed" not in one
    assert one["loss"] == two["loss"]


def test_data_that_no_table_is_about_and_systems_without_a_paper_are_explored(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord, tmp_path: Path
) -> None:
    """One's own pictures, and a system that prints no table, whose readings and rows have names of their own."""
    own = Profile.read("market1501-small", dataset="own", data_root=str(tmp_path), profile="mine")
    monkeypatch.setattr("reidkit.settings.files_checksum", lambda *_: "none")
    rows: dict[str, dict[str, Any]] = {"base": {}, "base/wide": {"attention": "se"}}
    new = replace(SYSTEMS["joint-loss"], name="new", title="New", choices={}, rows=rows)
    monkeypatch.setitem(SYSTEMS, "new", new)
    monkeypatch.setattr("reidkit.systems.ROWS", {row: s for s in SYSTEMS.values() for row in s.rows})
    chosen = [Experiment(SYSTEMS["joint-loss"], own), Experiment(SYSTEMS["san-gal"], own), Experiment(new, own)]
    record = make_record(dataset="own")
    for experiment in chosen:
        experiment.__dict__["records"] = {row: [] for row in experiment.rows}
    chosen[0].records["none/ce"].append(record)
    assert chosen[0].verdict("none/ce") == "not printed"
    assert [chosen[2].label(row) for row in chosen[2].rows] == ["base", "base, wide"]
    assert "none" in str(overview(chosen[0], ()))
    assert record.name in Explorer(chosen)._repr_html_()


def test_the_plain_table_has_every_run(experiments: list[Experiment]) -> None:
    for experiment in experiments:
        table = overview(experiment, {find_record(experiment.config(experiment.rows[0])).name})  # type: ignore[union-attr]
        shown = [row for row, records in experiment.records.items() if records or experiment.printed(row)]
        assert table.frame["Run"].tolist() == [experiment.label(row) for row in shown]
        run_ = [bool(experiment.records[row]) for row in shown]
        assert ((table.frame["mAP here"] != "–") == run_).all()
        assert "Verdict on mAP" not in table.frame  # it is the same everywhere, and said once
        assert "Verdict on every mAP that the paper prints: other setting." in table.notes
        linked = table.frame["Record"].str.contains("{doc}", regex=False)
        assert linked.tolist() == [True] + [False] * (len(shown) - 1)
        missing = next(row for row in experiment.rows if row not in RUN)
        assert f"`reidkit run smoke --row {missing} --seed 0`" in table.notes


# ----------------------------------------------------------------------------------------------------------- pictures


def test_ranked_lists_agree_with_the_record(experiments: list[Experiment], told: dict[str, Any]) -> None:
    """Of every query: which of the pictures are right, and where the first of them stands."""
    shown = told["pictures"]
    assert len(shown["shown"]) == len(told["queries"])
    for record in (r for e in experiments for records in e.records.values() for r in records):
        run_ = next(run_ for run_ in told["runs"] if run_["name"] == record.name)
        results = numbers(run_["results"], "<i2").reshape(len(told["queries"]), run_["across"])
        for tile, query in enumerate(shown["shown"]):
            person = [shown["images"][place] for place in shown["person"][tile]]
            right = [rank for rank, image in enumerate(results[query], start=1) if image in person]
            rank = record.queries["first_match_rank"][query]
            assert (right[0] if right else 0) == (rank if rank <= RESULTS else 0)


def test_the_sheet_holds_the_pictures_that_it_says(experiments: list[Experiment], told: dict[str, Any]) -> None:
    shown = told["pictures"]
    dataset = open_dataset(experiments[0].profile, progress=False)
    with Image.open(io.BytesIO(base64.b64decode(shown["sheet"]))) as sheet:
        canvas = np.asarray(sheet.convert("RGB"), float)
    width, height = pictures.TILE
    assert canvas.shape[:2] == (shown["rows"] * height, shown["columns"] * width)
    paths = [*(dataset.query.paths[i] for i in shown["shown"]), *(dataset.gallery.paths[i] for i in shown["images"])]
    assert shown["names"] == [path.name for path in paths[len(shown["shown"]) :]]
    for tile in (0, len(paths) // 2, len(paths) - 1):
        y, x = divmod(tile, shown["columns"])
        piece = canvas[y * height : (y + 1) * height, x * width : (x + 1) * width]
        with Image.open(paths[tile]) as image:
            expected = np.asarray(image.convert("RGB").resize((width, height)), float)
        assert np.abs(piece - expected).mean() < 12  # it is compressed
    for tile, query in enumerate(shown["shown"]):
        right = dataset.gallery.ids == dataset.query.ids[query]
        right &= dataset.gallery.cameras != dataset.query.cameras[query]
        assert [shown["images"][place] for place in shown["right"][tile]] == right.nonzero()[:, 0].tolist()


def test_fewer_queries_have_pictures_where_the_page_would_become_too_large(
    experiments: list[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(experiments[0].profile, progress=False)
    records = [record for records in experiments[0].records.values() for record in records]
    monkeypatch.setattr(pictures, "MOST", 40)
    shown = pictures.thumbnails(dataset, records)
    assert shown is not None
    assert 0 < len(shown["shown"]) < len(dataset.query)
    assert len(shown["shown"]) + len(shown["images"]) <= 40


def test_heat_maps_are_those_of_the_predicted_classes_and_answers_those_of_the_network(
    plan: Profile, told: dict[str, Any]
) -> None:
    heat = told["heat"]
    stored = heat_maps(plan.config("attributes"), "query", progress=False)
    assert heat["fields"][2] == "sleeve length"
    assert len(heat["fields"]) == len(heat["classes"]) == 27
    for stage in heat["stages"]:
        maps = numbers(stage["maps"], "u1").reshape(len(heat["queries"]), 27, stage["height"], stage["width"])
        expected = stored.maps[stage["name"]][heat["queries"]].numpy().astype(int)
        assert np.abs(maps.astype(int) - expected).max() <= 1  # rounded twice
    answers, truths = (numbers(heat[key], "i1").reshape(-1, 27) for key in ("answers", "truths"))
    assert answers.min() >= 0
    assert all(answers[:, k].max() < len(classes) for k, classes in enumerate(heat["classes"]))
    record = find_record(plan.config("attributes"))
    assert record is not None
    scores = record.tables["attributes"]
    assert (truths[:, :10] >= 0).all()
    assert 0 < (answers == truths).mean() < 1
    assert len(scores)
    assert [run_["heat"] for run_ in told["runs"]] == [False, False, False, True]


def test_no_picture_of_real_people_is_shown(market: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    for records in market.records.values():
        for record in records:
            record.queries["results"] = "0 1"
    monkeypatch.setattr("reidkit.report.explorer.contents.open_dataset", lambda *_, **__: pytest.fail("it was opened"))
    (data,) = contents([market])["data"]
    assert data["pictures"] is None
    assert not any(run_["results"] for run_ in data["runs"])


def test_the_page_is_one_piece_that_asks_nobody(experiments: list[Experiment]) -> None:
    page = Explorer(experiments, start={"b": "se/ce"})._repr_html_()
    soup = BeautifulSoup(page, "html.parser")
    (root,) = soup.find_all(recursive=False)
    data, script = root.find_all("script")
    assert json.loads(data.string)["start"] == {"b": "se/ce"}
    assert "</" not in data.string
    assert "plain tables" in root.noscript.get_text()
    assert not re.findall(r"(?:src|href)=|https?://(?!www\.w3\.org)", page.replace(script.string, ""))
    assert len(page) < 2e6


# ------------------------------------------------------------------------------------------------------ with a kernel


def html(box: Any) -> str:
    return "".join(child.value for child in box.children if isinstance(child, ipywidgets.HTML))


def test_a_missing_run_is_trained_and_then_shown(plan: Profile) -> None:
    trained: list[str] = []
    box = live.Training(plan, trained.append)
    before = [row for _, row in box.missing.options]
    assert "eca/ce" in before
    assert not {*RUN} & {*before}
    box.missing.value = "eca/ce"
    box.button.click()
    assert box.thread is not None
    box.thread.join()
    record = find_record(plan.config("eca/ce"))
    assert record is not None
    assert trained == ["eca/ce"]
    assert [row for _, row in box.missing.options] == [row for row in before if row != "eca/ce"]
    assert f"mAP {100 * record.metrics['mAP']:.1f}" in html(box.box)
    assert (box.button.disabled, box.stop.disabled, box.bar.layout.display) == (False, True, "none")


def test_training_is_stopped_at_a_checkpoint_and_goes_on_from_there(
    plan: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the button, which is pressed as soon as a step was told of; the second time nobody presses it."""
    box = live.Training(plan, lambda _: None)
    box.missing.value = "danet/ce"
    said: list[str] = []
    begun, say = threading.Event(), box.say

    def listen(text: str) -> None:
        said.append(text)
        say(text)
        if "epoch" in text and not begun.is_set():
            begun.set()
            box.stop.click()

    monkeypatch.setattr(box, "say", listen)
    box.button.click()
    assert box.button.disabled
    assert box.thread is not None
    box.thread.join()
    assert begun.is_set()
    assert said[0].startswith("Busy")
    assert "it goes on from there" in said[-1]
    assert find_record(plan.config("danet/ce")) is None
    assert not box.button.disabled
    box.button.click()
    box.thread.join()
    assert find_record(plan.config("danet/ce")) is not None


def test_a_run_that_fails_says_so_and_leaves_the_button(plan: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[str] = []
    box = live.Training(plan, renewed.append)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is <full>")

    monkeypatch.setattr(live, "run", fails)
    box.button.click()
    assert box.thread is not None
    box.thread.join()
    assert "RuntimeError: the disk is &lt;full&gt;" in html(box.box)
    assert not box.button.disabled
    assert not renewed


def test_the_explorer_is_shown_with_what_needs_a_kernel(
    experiments: list[Experiment], plan: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "experiments", lambda _: experiments[:1])
    shown, training, own = live.live(plan).children
    (output,) = shown.outputs
    assert "rx-explorer" in output["data"]["text/html"]
    assert '"addressed":false' in output["data"]["text/html"]  # JupyterLab's address is its own
    assert [html(part).partition("</h3>")[0] for part in (training, own)] == [
        "<h3>Train a run that is missing",
        "<h3>Rank a picture of your own",
    ]


def upload(content: bytes, name: str = "mine.png") -> tuple[dict[str, Any], ...]:
    now = datetime.datetime.now(datetime.UTC)
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    return ({**file, "last_modified": now},)


def as_file(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_the_most_similar_picture_to_one_of_the_gallery_is_itself(plan: Profile) -> None:
    own = live.OwnPicture(plan)
    path = open_dataset(plan).gallery.paths[3]
    with Image.open(path) as image:
        own.upload.value = upload(as_file(image))
    images = BeautifulSoup(own.answer.value, "html.parser").select("img")
    assert len(images) == 1 + RESULTS
    assert images[0]["alt"] == "your picture"
    assert images[1]["alt"] == path.name
    assert "1: 1.00" in own.answer.value
    assert "framed" not in own.answer.value
    before = own.answer.value
    own.refresh()  # as after a training
    assert own.answer.value == before
    own.network.index = 1  # another network, the same picture
    assert own.answer.value != before


def test_a_wide_picture_is_framed_and_not_squeezed(plan: Profile) -> None:
    own = live.OwnPicture(plan)
    own.upload.value = upload(as_file(Image.new("RGB", (400, 100), "red")))
    assert "Your picture is 400×100" in own.answer.value
    wide = live.framed(Image.new("RGB", (400, 100), "red"), (64, 32))
    assert wide.size == (400, 800)
    assert wide.getpixel((0, 0)) == live.GREY
    assert wide.getpixel((200, 400)) == (255, 0, 0)
    tall = live.framed(Image.new("RGB", (10, 100), "red"), (64, 32))
    assert tall.size == (50, 100)
    person = Image.new("RGB", (50, 110))
    assert live.framed(person, (64, 32)) is person


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_what_is_no_picture_is_told_by_its_name_in_a_line(plan: Profile, content: bytes) -> None:
    own = live.OwnPicture(plan)
    own.upload.value = upload(content, "holiday <1>.png")
    assert "holiday &lt;1&gt;.png: " in own.answer.value
    assert "picture" in own.answer.value
    assert "BytesIO" not in own.answer.value
    assert "\n" not in own.answer.value


def test_no_upload_where_no_network_is(plan: Profile, build: Path) -> None:
    own = live.OwnPicture(plan)
    assert own.upload.disabled
    assert not own.network.options
    assert "train one first" in own.answer.value
