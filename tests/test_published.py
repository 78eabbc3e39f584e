"""The printed numbers against the paper's own sums and against the package's names for things."""

import pytest

from reidkit import published
from reidkit.published import JOINT_LOSS, OURS, SAN_GAL_OURS, SAN_GAL_TABLES
from reidkit.systems.attributes import AttributeConfig
from reidkit.systems.joint_loss import GRID, TABLE_1, RunConfig
from reidkit.systems.san_gal import ROWS, SanGalConfig


def test_table_1_is_the_eight_cells_that_the_grid_names() -> None:
    rows = {row.method: row.cell for row in published.TABLE_1.rows if row.cell}
    assert rows == {GRID[name].row: name for name in TABLE_1}
    assert len(rows) == len(published.TABLE_1.rows) == 8


@pytest.mark.parametrize("number", JOINT_LOSS)
def test_every_table_has_one_row_of_the_proposed_method_and_scores_in_per_cent(number: int) -> None:
    table = JOINT_LOSS[number]
    assert table.number == number
    assert [row.method for row in table.rows if row.cell == OURS] == ["Ours"]
    assert len({row.method for row in table.rows}) == len(table.rows)
    for row in table.rows:
        assert tuple(row.scores) == table.metrics
        assert all(30 < score < 100 for score in row.scores.values())
        assert row.scores["mAP"] < row.scores["rank-1"]
        ranks = [row.scores[metric] for metric in table.metrics if metric.startswith("rank")]
        assert ranks == sorted(ranks)


def test_stated_gains_agree_with_the_table_for_rank_1_only() -> None:
    table = published.TABLE_1
    base, ours = table.row("Baseline"), table.row("Ours")
    printed = {metric: round(ours.scores[metric] - base.scores[metric], 2) for metric in table.metrics}
    assert {gain.metric: gain.stated for gain in published.STATED_GAINS} == {"rank-1": 8.73, "mAP": 14.45}
    assert (printed["rank-1"], printed["mAP"]) == (8.73, 14.65)  # the text says 14.45


def test_a_missing_row_is_an_error_that_lists_the_rows() -> None:
    with pytest.raises(KeyError, match=r"no row 'OSNet\+'; it has: SVDNet.*OSNet, Ours"):
        published.TABLE_2.row("OSNet+")


def test_settings_name_fields_that_a_run_has() -> None:
    keys = {key for setting in published.SETTINGS for key in setting.keys}
    assert keys <= set(RunConfig.model_fields)
    printed = {setting.name: setting.printed for setting in published.SETTINGS if setting.printed}
    defaults = RunConfig()
    assert printed["input size"] == f"{defaults.image_height}×{defaults.image_width}"
    assert float(printed["learning rate"]) == defaults.learning_rate
    assert int(printed["batch size"]) == defaults.batch_size


@pytest.mark.parametrize("number", SAN_GAL_TABLES)
def test_both_halves_of_a_san_gal_table_have_the_same_methods(number: int) -> None:
    market, duke = halves = SAN_GAL_TABLES[number]
    assert (market.dataset, duke.dataset) == ("market1501", "dukemtmcreid")
    assert [(row.method, row.cell) for row in market.rows] == [(row.method, row.cell) for row in duke.rows]
    assert len({row.method for row in market.rows}) == len(market.rows)
    for row in (row for half in halves for row in half.rows):
        assert tuple(row.scores) == ("rank-1", "mAP")
        assert 30 < row.scores["mAP"] < row.scores["rank-1"] < 100


def test_san_gals_rows_are_the_packages_and_its_own_scores_the_same_in_both_tables() -> None:
    for first, second in zip(*SAN_GAL_TABLES.values(), strict=True):
        assert first.cells == ROWS
        assert second.cells == (SAN_GAL_OURS,)
        own = [row.scores for table in (first, second) for row in table.rows if row.cell == SAN_GAL_OURS]
        assert own[0] == own[1]


def test_san_gals_stated_differences_agree_with_its_tables() -> None:
    for number, dataset, method, over, gain in published.SAN_GAL_STATED:
        (table,) = (half for half in SAN_GAL_TABLES[number] if half.dataset == dataset)
        printed = table.row(method).scores[gain.metric] - table.row(over).scores[gain.metric]
        assert round(printed, 1) == gain.stated


def test_san_gals_table_2_refers_twice_to_one_article() -> None:
    others = {row.method for row in SAN_GAL_TABLES[2][0].rows if row.cell is None}
    assert set(published.SAN_GAL_REFERENCES) == others
    articles = dict(published.SAN_GAL_REFERENCES.values())
    numbers = [number for number, _ in published.SAN_GAL_REFERENCES.values()]
    assert sorted(articles) == list(range(24, 32))
    assert [number for number in articles if numbers.count(number) > 1] == [29]


def test_san_gals_count_of_the_test_set_is_its_total_without_the_rest() -> None:
    counts = published.SAN_GAL_COUNTS
    assert counts["gallery"] == counts["total"] - counts["train"] - counts["query"] == 16384


def test_san_gals_settings_name_fields_that_a_run_has_and_its_defaults_are_the_printed_ones() -> None:
    for settings, kind in (
        (published.SAN_GAL_SETTINGS, SanGalConfig),
        (published.SAN_GAL_ATTRIBUTE_SETTINGS, AttributeConfig),
    ):
        assert {key for setting in settings for key in setting.keys} <= set(kind.model_fields)
    printed = {setting.name: setting.printed or "" for setting in published.SAN_GAL_SETTINGS}
    defaults = SanGalConfig()
    assert printed["input size"] == f"{defaults.image_height}×{defaults.image_width}"
    assert printed["optimiser"].lower() == defaults.optimizer
    assert float(printed["learning rate"]) == defaults.learning_rate
    assert float(printed["warm-up"].split()[1]) == pytest.approx(defaults.learning_rate * defaults.warmup_factor)
    assert int(printed["epochs"]) == defaults.epochs
    rates, epochs = printed["learning-rate schedule"].split(" in the ")
    for rate, epoch in zip(rates.split(", "), epochs.removesuffix(" epoch").split(", "), strict=True):
        assert float(rate) == pytest.approx(defaults.learning_rate_at(float(epoch.removesuffix("th"))))
    assert printed["attribute pre-training module"] == f"in the first {defaults.attribute_epochs:g} epochs"
