"""The printed numbers against the paper's own sums and against the package's names for things."""

import pytest

from reidkit import published
from reidkit.experiments import GRID, TABLE_1, RunConfig
from reidkit.published import JOINT_LOSS, OURS


def test_table_1_is_the_eight_cells_that_the_grid_names() -> None:
    rows = {row.method: f"{row.cell[0]}/{row.cell[1]}" for row in published.TABLE_1.rows if row.cell}
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
