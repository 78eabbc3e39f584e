import pytest

from reidkit import claims
from reidkit.claims import Claim
from reidkit.published import PAPERS, TABLE_1
from reidkit.report.chapters import claims as shown
from reidkit.report.rows import difference
from tests.report.conftest import MakeRecord, check_page, written

CLAIM = Claim("SE helps", "Table 1", "se/ce", "none/ce", "half/ce")


def runs(make_record: MakeRecord, **quality: float) -> shown.Runs:
    """Four seeds of each row, by attention module, so good."""
    return {
        f"{attention}/ce": [make_record(attention, seed=seed, quality=score) for seed in range(4)]
        for attention, score in quality.items()
    }


@pytest.mark.parametrize(
    ("quality", "verdict"),
    [
        ({"none": 0.5, "se": 0.9}, shown.UNCONTROLLED),
        ({"none": 0.5, "se": 0.9, "half": 0.5}, shown.HOLDS),
        ({"none": 0.5, "se": 0.9, "half": 0.9}, shown.BUT),
        ({"none": 0.9, "se": 0.5}, shown.NOT),
        ({"none": 0.5, "se": 0.5}, shown.OPEN),
        ({"none": 0.5}, shown.MISSING),
    ],
)
def test_a_claim_is_judged_by_its_interval_and_its_control(
    make_record: MakeRecord, quality: dict[str, float], verdict: str
) -> None:
    assert shown.fared(CLAIM, runs(make_record, **quality)) == verdict


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_give_no_verdict(make_record: MakeRecord, seeds: int) -> None:
    found = {row: records[:seeds] for row, records in runs(make_record, none=0.5, se=0.9).items()}
    assert shown.fared(CLAIM, found) == shown.TOO_FEW
    assert "no verdict yet" in shown.covered({"toy": found})
    several = runs(make_record, none=0.5)
    assert shown.covered({"toy": several}) == "95 % intervals over people and seeds"
    assert "(on real over the people alone" in shown.covered({"toy": several, "real": found})


def test_that_something_hardly_helps_holds_where_it_makes_things_worse(make_record: MakeRecord) -> None:
    claim = Claim("SE hardly helps", "Table 1", "se/ce", "none/ce", better=False)
    assert shown.fared(claim, runs(make_record, none=0.9, se=0.5)) == shown.HOLDS
    assert shown.fared(claim, runs(make_record, none=0.5, se=0.9)) == shown.NOT
    assert shown.fared(claim, runs(make_record, none=0.5, se=0.5)) == shown.OPEN


def test_the_table_has_the_papers_difference_beside_ours(make_record: MakeRecord) -> None:
    found = runs(make_record, none=0.5, se=0.9)
    profiles = {"Market-1501": "market1501-small", "toy": "smoke"}
    table = shown.claims_table([CLAIM], PAPERS["joint-loss"][1], {"Market-1501": found, "toy": {}}, profiles)
    (line,) = table.to_dict("records")
    assert line["Paper"] == "+8.38"
    assert line["Market-1501"].startswith(
        "{explore}`holds; its control is not run <a=market1501-small:none/ce&b=market1501-small:se/ce>`: +"
    )
    assert line["Market-1501"].endswith(f", {len(found['se/ce'])} seeds")
    assert " to +" in line["Market-1501"]
    assert line["toy"] == shown.MISSING
    assert {record.name for record in shown.behind([CLAIM], {"": found})} == {
        record.name for records in found.values() for record in records
    }


def test_verdicts_are_counted_in_words(make_record: MakeRecord) -> None:
    lost = Claim("SE is worse", "Table 1", "none/ce", "se/ce")
    missing = Claim("ECA helps", "Table 1", "eca/ce", "none/ce")
    words = shown.counted([CLAIM, lost, missing], runs(make_record, none=0.5, se=0.9, half=0.5), "toy")
    assert words == "On toy, two of the three claims were tested: one holds and one does not hold."
    assert shown.counted([CLAIM, missing], runs(make_record, none=0.5, se=0.9, half=0.5), "toy") == (
        "On toy, one of the two claims was tested: it holds."
    )
    assert shown.counted([CLAIM, CLAIM], runs(make_record, none=0.5, se=0.9, half=0.5), "toy").endswith(
        "tested: all of them hold."
    )
    assert shown.counted([missing, CLAIM], {}, "toy") == "On toy, none of the two claims has been tested yet."


def test_printed_gains_are_set_beside_the_intervals(make_record: MakeRecord) -> None:
    hardly = Claim("ECA hardly helps", "Table 1", "eca/ce", "none/ce", better=False)
    data = {"toy": runs(make_record, none=0.5, se=0.5), "real": runs(make_record, none=0.5, se=0.9), "none": {}}
    told = shown.below_print([CLAIM, hardly], (TABLE_1,), data)
    assert told == (
        "The paper's gain lies above our whole interval for one of one claim on toy and none of one claim on real."
    )
    assert shown.below_print([CLAIM], (TABLE_1,), {"none": {}}) == ""


def test_what_is_too_small_to_show_is_half_of_an_interval(make_record: MakeRecord) -> None:
    data = {"toy": runs(make_record, none=0.5, se=0.9), "none": {}}
    gain = difference(data["toy"], CLAIM.row, CLAIM.over)
    assert f"less than about {(gain.high - gain.low) / 2:.0f} points on toy would" in shown.smallest([CLAIM], data)
    single = {row: records[:1] for row, records in data["toy"].items()}  # its interval knows nothing of seeds
    assert shown.smallest([CLAIM], {"none": {}, "single": single}) == ""


def test_what_is_not_tested_says_why() -> None:
    assert shown.untested_table(claims.JOINT_LOSS_UNTESTED)["Not tested, because"].str.len().min() > 20


def test_the_chart_shows_the_paper_beside_what_was_tested(make_record: MakeRecord) -> None:
    untested = Claim("ECA helps", "Table 1", "eca/ce", "none/ce")
    data = {"toy": runs(make_record, none=0.5, se=0.9), "Market-1501": {}}
    figure, alt = shown.claims_chart([CLAIM, untested], PAPERS["joint-loss"][1], data)
    check_page(figure)
    assert "SE helps: paper +8.38, toy +" in alt
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["toy", "paper"]
    assert "ECA helps" not in written(figure)
    figure, alt = shown.claims_chart([untested], PAPERS["joint-loss"][1], data)
    assert "None of these rows has been run yet" in alt
