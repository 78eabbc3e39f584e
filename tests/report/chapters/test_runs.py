"""A run's page: everything of its record is on it, and the table of contents lists it."""

import re
from pathlib import Path

import pytest
import yaml

from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.records import Record, read_records, write_record
from reidkit.report import tables
from reidkit.report.chapters.runs import has_reading, overview, page, titles, write_pages
from tests.report.conftest import MakeRecord

ORIGIN = {
    "created": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "dirty": True,
    "python": "3.11.0",
    "platform": "Linux x86_64",
    "versions": {"torch": "2.15.0"},
    "data": "fedcba98765432100123",
    "device": "CPU, 1 threads",
    "seconds": {"training": 12.5, "ranking": 0.5},
    "parameters": 1234567,
    "images": {"train": 1920, "query": 300, "gallery": 1000},
}


@pytest.fixture
def planned(build: Path, make_record) -> tuple[Profile, Record]:  # type: ignore[no-untyped-def]
    """A profile, and the record of one of its runs."""
    profile = Profile.read("smoke", systems={"joint-loss": {"rows": "table 1"}})
    config = profile.config("cbam/ce+tri+cir")
    like = make_record("cbam", "ce+tri+cir")
    record = write_record(
        build / "records" / config.name,
        system=config.system,
        config=config.determinants,
        metrics=like.metrics,
        provenance=ORIGIN,
        history=like.history.rename(columns={"loss": "total"}).assign(mAP=[None, 0.5]),
        queries=like.queries,
    )
    return profile, record


def test_a_page_tells_all_that_its_record_holds(planned: tuple[Profile, Record]) -> None:
    _, record = planned
    text = page(record, titles({record.name: record})[record.name])
    assert "\n# cbam/ce+tri+cir on SynthPed, market-like, seed 0\n" in text
    for metric, value in record.metrics.items():
        assert f"| {metric} | {100 * value:.2f} |" in text
    for parameter, value in record.config.items():
        assert f"| `{parameter}` | `{value}` |" in text
    assert "0123456789abcdef`, with uncommitted changes" in text
    assert f"git checkout 0123456789abcdef\nreidkit verify {record.name}\n" in text
    assert "1,920 train" in text
    labels = re.findall(r'aria-label="([^"]*)"', text)
    assert [label.split(" over ")[0] for label in labels] == ["The training loss", "The mAP (%)"]


def test_pages_lie_beside_their_files_and_in_the_contents(planned: tuple[Profile, Record], tmp_path: Path) -> None:
    profile, record = planned
    toc = tmp_path / "toc.yml"
    toc.write_text("root: index\nparts:\n- chapters:\n  - file: losses\n  - file: runs\n")
    pages = write_pages(profile, tmp_path / "source", toc)
    published = [found.name for found in read_records(project_root() / "book" / "records")]
    assert {path.stem for path in pages} == {record.name, *published}
    for path in pages:
        offered = re.findall(r"\{download\}`[\w.]+ <([^>]+)>`", path.read_text())
        assert len(offered) >= 3
        assert all((path.parent / file).is_file() for file in offered)
    contents = yaml.safe_load((tmp_path / "source" / "_toc.yml").read_text())
    losses, runs = contents["parts"][0]["chapters"]
    assert losses == {"file": "losses"}
    assert runs["sections"] == [{"file": f"runs/{path.stem}"} for path in pages]
    for link in tables.provenance([record])["Record"]:
        assert f"<runs/{record.name}>" in link


def test_the_overview_has_the_scores_of_those_that_rank(make_record: MakeRecord) -> None:
    ranks, names = make_record(), make_record("se")
    del names.metrics["mAP"]
    table = overview([ranks, names])
    assert table["mAP"].tolist() == [f"{100 * ranks.metrics['mAP']:.2f}", "–"]
    assert [*table.columns[:5]] == ["Record", "Run", "Seed", "mAP", "Rank-1"]


def test_a_page_of_real_data_asks_for_the_data(build: Path) -> None:
    everything = read_records(project_root() / "book" / "records")
    published = [record for record in everything if record.config["dataset"] != "synthped"]
    assert published
    assert all(f"verify {record.name} --data-root /path/to" in page(record, "A run") for record in published)


def test_no_two_pages_have_one_title(make_record: MakeRecord) -> None:
    records = [make_record(seed=0), make_record(seed=1), make_record(seed=0, sampling="identities")]
    named = titles({record.name: record for record in records})
    assert list(named.values()) == [
        "none/ce on Market-1501, seed 0, sampling auto",
        "none/ce on Market-1501, seed 1",
        "none/ce on Market-1501, seed 0, sampling identities",
    ]
    published = {record.name: record for record in read_records(project_root() / "book" / "records")}
    assert len({*titles(published).values()}) == len(published)


def test_what_belongs_to_the_method_has_a_reading_and_what_tells_rows_apart_has_none() -> None:
    assert {"sampling", "residual_scale", "image_width", "weights"} <= has_reading("joint-loss")
    assert not {"attention", "loss", "seed", "device"} & has_reading("joint-loss")
    assert {"sigmoids", "online", "triplet"} <= has_reading("san-gal")
    assert "row" not in has_reading("san-gal")
