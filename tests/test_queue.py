"""Runs within a time limit: what is started, passed over, stopped and kept. Clocks are false, signals are real."""

import errno
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reidkit import queue, runs
from reidkit.data import DatasetError
from reidkit.places import project_root, record_roots
from reidkit.profile import Profile
from reidkit.queue import Interruption, Pace, PassedOverError, Queue, Watch, duration, measure, pack, unpack
from reidkit.records import RecordError, read_record, read_records, write_record
from reidkit.settings import Configuration
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.san_gal import SanGalConfig
from reidkit.training import StoppedError, TrainingError

EPOCHS = 10


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def steps(watch: Watch, count: int, seconds: float, of: int = 100, first: int = 1) -> bool:
    """Asks a watch after steps of some seconds each, `of` of them an epoch; whether it said to stop."""
    for number in range(first, first + count):
        watch.clock.time += seconds  # type: ignore[attr-defined]
        if watch(number / of, number * seconds):
            return True
    return False


def test_a_pace_counts_epochs_evaluations_and_the_measurement_at_the_end() -> None:
    pace = Pace(loading=5, epoch=10, measurement=3)
    assert pace.left(RunConfig(epochs=60)) == 603
    assert pace.left(RunConfig(epochs=60), done=58.5) == 18
    assert pace.left(RunConfig(epochs=60, evaluate_every=20)) == 600 + 4 * 3
    assert pace.left(RunConfig(epochs=60, evaluate_every=20), done=40) == 200 + 2 * 3


def test_a_watch_learns_from_thirty_steps_but_the_first_ones() -> None:
    clock = Clock()
    watch = Watch(RunConfig(epochs=EPOCHS, batch_size=64), 1920, Interruption(), clock)
    clock.time = 7.0
    assert not steps(watch, 10, seconds=3.0)  # while it settles
    assert watch.pace is None
    for number in range(11, 31):
        assert not watch(number / 100, 30 + (number - 10) * 0.5)
    assert watch.pace == Pace(
        loading=10.0, epoch=pytest.approx(50, rel=1e-3), measurement=pytest.approx(1920 * 0.5 / 64 / 3, rel=1e-3)
    )
    assert watch.left == pytest.approx(50 * (EPOCHS - 0.3) + 5, rel=1e-3)


def test_a_run_shorter_than_thirty_steps_is_known_at_its_end() -> None:
    for count in (1, 2, 12):
        watch = Watch(RunConfig(epochs=1, warmup_epochs=0), 640, Interruption(), Clock())
        assert not steps(watch, count, seconds=2.0, of=count)
        assert watch.pace is not None
        assert watch.pace.epoch == pytest.approx(2.0 * count, rel=1e-3)


@pytest.mark.parametrize("known", [False, True])
def test_a_run_that_does_not_fit_is_passed_over_as_soon_as_that_is_known(known: bool) -> None:
    pace = Pace(loading=1, epoch=100, measurement=10)
    watch = Watch(RunConfig(epochs=EPOCHS), 1920, Interruption(), Clock(), deadline=1000, pace=pace if known else None)
    with pytest.raises(PassedOverError):
        steps(watch, 100, seconds=1.0)
    assert watch.steps == (1 if known else queue.STEPS)
    assert watch.left is not None
    assert watch.left > 900


def test_a_run_is_stopped_where_the_limit_comes_after_all_or_where_it_is_trained_in_part() -> None:
    slowing = Watch(RunConfig(epochs=EPOCHS), 0, Interruption(), Clock(), deadline=1200)
    assert not steps(slowing, 30, seconds=1.0)  # 1000 s
    assert steps(slowing, 10_000, seconds=2.0, first=31)
    assert 1200 - queue.RESERVE <= slowing.clock() <= 1200
    partial = Watch(RunConfig(epochs=EPOCHS), 0, Interruption(), Clock(), deadline=500, partial=True)
    assert steps(partial, 10_000, seconds=1.0)
    assert 500 - queue.RESERVE <= partial.clock() <= 500


def test_processes_of_one_run_ask_each_other_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    watch = Watch(RunConfig(epochs=EPOCHS), 0, Interruption(), Clock())
    monkeypatch.setattr("reidkit.distributed.processes", lambda: 2)
    monkeypatch.setattr("reidkit.distributed.agreed", lambda answer: bool(asked.append(watch.steps)))
    steps(watch, 100, seconds=1.0)
    assert asked == [30, 30, 60, 90]


# ------------------------------------------------------------------------------------------------------------ in a row


class Training:
    """Stands for `runs`: runs take so many seconds of a clock, by row, and leave records of nothing."""

    def __init__(self, build: Path, monkeypatch: pytest.MonkeyPatch, **seconds: float | Exception) -> None:
        self.records, self.seconds, self.clock = build / "records", seconds, Clock()
        self.steps: dict[str, int] = {}
        for name in ("run", "with_weights"):
            monkeypatch.setattr(runs, name, getattr(self, name))
        monkeypatch.setattr(runs, "open_dataset", lambda config: Nothing())

    def run(
        self,
        config: Configuration,
        *,
        records: Path,
        stop: Callable[[float, float], bool] | None,
        fresh: bool = False,
    ) -> runs.Run:
        if found := runs.find_record(config, [records] if fresh else None):
            return runs.Run(config, found)
        assert stop is not None
        takes = self.seconds[config.row_name.split("/")[0].replace("+", "_")]
        name = config.name
        if isinstance(takes, Exception):
            raise takes
        for number in range(self.steps.get(name, 0) + 1, 1001):
            self.clock.time += takes / 1000
            if stop(config.epochs * number / 1000, takes * number / 1000):
                self.steps[name] = number
                runs.checkpoint_path(config).parent.mkdir(parents=True, exist_ok=True)
                runs.checkpoint_path(config).touch()
                raise StoppedError
        table = pd.DataFrame({"epoch": [1]})
        return runs.Run(
            config,
            write_record(
                records / name, system=config.system, config=config.determinants, metrics={"mAP": 0.5},
                provenance={"data": "abc"}, history=table,
            ),
        )  # fmt: skip

    def with_weights(self, config: Configuration, records: Path, stop: Callable[[float, float], bool]) -> None:
        self.run(config, records=records, stop=stop)
        runs.weights_path(config).parent.mkdir(parents=True, exist_ok=True)
        runs.weights_path(config).touch()

    def queue(self, *configs: Configuration, **options: Any) -> Queue:
        return Queue(configs, self.records, clock=self.clock, **options)


class Nothing:
    query = gallery = ()


def rows(*attention: str, seed: int = 0) -> list[Configuration]:
    return [RunConfig(attention=name, seed=seed) for name in attention]


def test_what_fits_is_run_in_order_and_what_does_not_is_passed_over(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(build, monkeypatch, none=100, cbam=400, se=50, eca=60)
    told: list[str] = []
    work = training.queue(
        *rows("none", "cbam", "se"), *rows("cbam", "eca", seed=1), deadline=360.0,
        report=lambda run: told.append(run.config.row_name),
    )  # fmt: skip
    assert work.work() == queue.LEFT == 75
    assert told == ["none/ce", "se/ce", "eca/ce"]
    assert [config.row_name for config in work.waiting] == ["cbam/ce"] * 2
    assert training.clock() == pytest.approx(100 + 12 + 50 + 60, rel=1e-3)  # the second CBAM was not begun
    assert re.search(r"cbam/ce seed 0 +6 min 2[789] s\n +cbam/ce seed 1 +6 min 4[01] s", work.summary())
    again = training.queue(*rows("none", "cbam", "se"), *rows("cbam", "eca", seed=1))
    assert again.work() == 0  # without a limit
    assert again.summary() == ""
    assert len(again.finished) == 5


def test_partial_gives_what_is_left_of_the_time_to_the_first_that_does_not_fit(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(build, monkeypatch, none=100, cbam=600, danet=700)
    work = training.queue(*rows("cbam", "danet", "none"), deadline=500.0)
    assert work.work(partial=True) == queue.LEFT
    assert list(work.finished) == [rows("none")[0].name]
    (kept,) = training.steps  # one checkpoint, not two
    assert kept.startswith("synthped-cbam-ce-seed0")
    assert 500 - 2 * queue.RESERVE < training.clock() <= 500
    training.clock.time = 0
    later = training.queue(*rows("cbam", "danet", "none"), deadline=500.0)
    assert later.work() == queue.LEFT
    assert len(later.finished) == 2  # goes on from there
    assert [config.row_name for config in later.waiting] == ["danet/ce"]


def test_nothing_is_begun_after_the_limit(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(build, monkeypatch, none=100)
    work = training.queue(*rows("none"), deadline=queue.RESERVE / 2)
    assert work.work(partial=True) == queue.LEFT
    assert training.clock() == 0
    assert "none/ce seed 0                   not measured" in work.summary()


def test_a_run_that_fails_stops_no_other(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    training = Training(
        build, monkeypatch, none=1, se=TrainingError("the loss is not finite"), eca=1, danet=full, cbam=KeyError(7)
    )
    work = training.queue(*rows("se", "none", "cbam", "danet", "eca"))
    assert work.work() == 1
    assert len(work.finished) == 2
    assert "failed:\n  se/ce seed 0: the loss is not finite\n  cbam/ce seed 0: KeyError: 7" in work.summary()
    assert "danet/ce seed 0: [Errno 28] No space left on device: make room and give the same comm" in work.summary()
    shown = capsys.readouterr().err
    assert shown.count("Traceback") == 1  # of what a user cannot mend


def test_a_damaged_record_is_one_that_fails(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(build, monkeypatch, none=1, se=1)
    assert training.queue(*rows("none")).work() == 0
    (training.records / rows("none")[0].name / "history.csv").write_text("")
    work = training.queue(*rows("none", "se"))
    assert work.work() == 1
    assert len(work.finished) == 1
    assert "history.csv: missing or altered" in work.summary()


def test_a_published_record_needs_no_data(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(config: Configuration) -> None:
        raise DatasetError("there are no data here")

    training = Training(build, monkeypatch)
    published = runs.configuration_of(next(r for r in read_records(record_roots()[1]) if r.name.startswith("synthped")))
    monkeypatch.setattr(runs, "open_dataset", none)
    assert training.queue(published).work() == 0


def test_a_guide_comes_first_and_what_it_guides_shares_its_fate(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guided = Profile.read("smoke").config("ID+attrAttention")
    assert isinstance(guided, SanGalConfig)
    short = Training(build, monkeypatch, attributes=200, ID_attrAttention=50, none=20)
    work = short.queue(guided, *rows("none"), deadline=100.0)
    assert work.work() == queue.LEFT
    assert len(work.finished) == 1
    assert not short.steps
    failing = Training(build, monkeypatch, attributes=TrainingError("no"), ID_attrAttention=50, none=20)
    work = failing.queue(guided)
    assert work.work() == 1
    assert "ID+attrAttention seed 0: attributes seed 0, which guides it, failed" in work.summary()
    enough = Training(build, monkeypatch, attributes=200, ID_attrAttention=50, none=20)
    archive = build.parent / "records.tar.gz"
    assert enough.queue(guided, archive=archive).work() == 0
    with tarfile.open(archive) as file:
        assert len({name.split("/")[0] for name in file.getnames()}) == 2
    assert enough.clock() == pytest.approx(250, rel=1e-3)
    record = next(record for record in read_records(enough.records) if record.system == "attributes")
    assert record.metrics == {"mAP": 0.5}


# -------------------------------------------------------------------------------------------------------------- archive


def test_an_archive_holds_every_record_the_moment_it_is_there(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(build, monkeypatch, none=1, se=1)
    archive = build.parent / "kept" / "records.tar.gz"
    held: list[set[str]] = []

    def look(_: runs.Run) -> None:
        with tarfile.open(archive) as file:
            held.append({name.split("/")[0] for name in file.getnames()})

    assert training.queue(*rows("none", "se"), archive=archive, report=look).work() == 0
    names = [config.name for config in rows("none", "se")]
    assert held == [{names[0]}, set(names)]

    monkeypatch.setenv("REIDKIT_BUILD", str(build.parent / "another machine"))
    elsewhere = Training(build.parent / "another machine", monkeypatch, none=1000, se=1000, eca=1)
    work = elsewhere.queue(*rows("eca", "none"), archive=archive, deadline=100.0)
    assert work.work() == 0  # what the archive brings is not made again
    with tarfile.open(archive) as file:
        packed = {name.split("/")[0] for name in file.getnames()}
    assert packed == {*names, rows("eca")[0].name}  # and nothing is lost from it
    assert read_record(elsewhere.records / names[1]).metrics == {"mAP": 0.5}


def test_an_archive_that_cannot_be_is_told_before_any_work(build: Path, tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("keep me")
    with pytest.raises(RecordError, match="not an archive of records"):
        Queue(rows("none"), build / "records", other)
    assert other.read_text() == "keep me"
    with pytest.raises(OSError, match="letter"):
        Queue(rows("none"), build / "records", other / "records.tar.gz")
    assert unpack(tmp_path / "not there.tar.gz", build) == []


def test_a_full_disk_leaves_the_archive_before(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "record.json").write_text("{}")
    archive = tmp_path / "records.tar.gz"
    pack(archive, [tmp_path / "record"])
    before = archive.read_bytes()
    with pytest.raises(OSError, match="gone"):
        pack(archive, [tmp_path / "record", tmp_path / "gone"])
    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record", "records.tar.gz"]


# -------------------------------------------------------------------------------------------------------------- signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.05)


def test_outside_training_a_signal_ends_work_at_once_and_in_it_after_the_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    assert interruption.signal == signal.SIGTERM
    with Interruption() as interruption:
        watch = Watch(RunConfig(epochs=EPOCHS), 0, interruption, Clock())
        assert not steps(watch, 1, seconds=1.0)
        send(signal.SIGTERM)
        assert watch(0.02, 2.0)
        send(signal.SIGTERM)  # passed on by whoever got it too
        send(signal.SIGINT)
        time.sleep(1)
        with pytest.raises(KeyboardInterrupt):  # a second one does not wait
            send(signal.SIGINT)
        assert interruption.signal == signal.SIGTERM
    with Interruption(seconds=0.05) as interruption, pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    assert interruption.signal == signal.SIGALRM
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def start(build: Path, synthped: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "reidkit", "run", "smoke", "--row", "none/ce", "--data-root", str(synthped)),
            *("--set", "epochs=8", "--set", "batch_size=8", *arguments),
        ],
        cwd=project_root(),
        env={**os.environ, "REIDKIT_BUILD": str(build), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "options", "code"),
    [
        (signal.SIGTERM, ["--within", "30"], 75),
        (signal.SIGTERM, [], 143),
        (signal.SIGINT, [], 130),
    ],
)
def test_a_signal_leaves_a_checkpoint_and_the_same_command_goes_on(
    build: Path, synthped: Path, number: int, options: list[str], code: int
) -> None:
    process = start(build, synthped, *options)
    assert process.stderr is not None
    shown = ""
    while not re.search(r"none-ce seed0: +[1-9][0-9]%", shown):  # it is being trained
        shown += process.stderr.read(1)
        assert process.poll() is None, shown
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "left, and how long each would take here:\n  none/ce seed 0" in err
    assert "Traceback" not in err
    assert len(list((build / "runs").glob("*/checkpoint.pt"))) == 1
    assert not read_records(build / "records")
    if number == signal.SIGTERM and options:  # a checkpoint is the same after any of them
        again = start(build, synthped, *options)
        out, err = again.communicate(timeout=300)
        assert again.returncode == 0, err
        assert "rank-1" in out
        (record,) = read_records(build / "records")
        assert len(record.history) == 8


@pytest.mark.usefixtures("one_block_a_stage")
def test_time_only_tells_of_every_row_and_keeps_nothing(build: Path, synthped: Path) -> None:
    profile = Profile.read("smoke", data_root=synthped, batch_size=8)
    told: list[str] = []
    assert measure(profile.configs(), told.append) == 0
    systems = {row.split(" ")[0] for row in told}
    assert {"none/ce", "cbam/ce+tri+cir", "attributes", "IDonly", "ID+attrAttention", "heat"} <= systems
    assert any(re.match(r"ID\+attrAttention/online +2 × \d", row) for row in told)
    assert re.match(r"in all .* on CPU, 1 thread, (bf16|fp32); runs without a record: ", told[-1])
    assert not build.exists()


def test_time_only_of_nothing_says_so() -> None:
    told: list[str] = []
    assert measure([], told.append) == 0
    assert told == ["the profile has no runs: there is nothing to measure"]


@pytest.mark.usefixtures("one_block_a_stage")
def test_time_only_goes_on_after_a_row_that_fails(build: Path, synthped: Path, tmp_path: Path) -> None:
    profile = Profile.read("smoke", data_root=synthped, batch_size=8)
    bad = profile.config("none/ce").model_copy(update={"weights": str(tmp_path / "none.pth"), "width_multiplier": 1.0})
    told: list[str] = []
    assert measure([bad, profile.config("se/ce")], told.append) == 1
    assert told[0].startswith("none/ce: not measured: ")
    assert told[1].startswith("se/ce ")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7805, "2 h 10 min")]
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
