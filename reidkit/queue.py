"""Runs one after another: all that are missing, or those of them that can be done within a time limit.

How long a run takes is known after its first steps. None of it decides a number, so none of it is in a run's name.
"""

import math
import os
import shutil
import signal
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from reidkit import distributed, runs
from reidkit.data.resident import normalise, resize
from reidkit.errors import in_words
from reidkit.gradcam import attribute_heat_maps
from reidkit.places import record_roots
from reidkit.records import Record, RecordError
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import HeldMaps, Material
from reidkit.training import StoppedError, choose_device, device_name, precision_of

STEPS = 30  # of a run, after which it is known how long it takes
SETTLING = 10  # of them, which tell nothing: kernels are chosen, a graph is recorded
MARGIN = 1.05  # on what a run is expected to take
RESERVE = 10.0  # seconds at the end of a limit in which nothing is trained: for a checkpoint, for a ranking
FORWARD = 1 / 3  # of what an image takes in training is what it takes to be measured: the backward pass is two thirds

LEFT = 75  # exit code where something is left to do, sysexits.h's for what is worth another try


class PassedOverError(Exception):
    """A run would not be done within the limit. Raised out of its training, so that it leaves no checkpoint."""


@dataclass(frozen=True)
class Pace:
    """How long a run takes on this machine, in seconds."""

    loading: float  # until its first step, heat maps that were missing included
    epoch: float
    measurement: float  # once

    def left(self, config: Configuration, done: float = 0.0) -> float:
        """From `done` epochs to the record."""
        every = config.evaluate_every
        evaluations = config.epochs // every - int(done) // every if every else 0
        return (config.epochs - done) * self.epoch + (evaluations + 1) * self.measurement


class Interruption:
    """Within the block, signals end the work in good order: training after its step, by `Watch`; all else at once.

    They are SIGTERM (a cluster's warning, a container's stop), SIGINT (Ctrl-C) and after `seconds`, if any, an alarm.
    What they raise is KeyboardInterrupt, which nobody takes for an error. A second Ctrl-C ends training at once too.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self.training = False
        self.signal: int | None = None  # the first
        self.at = 0.0

    def __enter__(self) -> "Interruption":
        names = ("SIGTERM", "SIGINT", "SIGALRM")  # Windows has no alarm
        self.before = {
            number: signal.signal(number, self.handle) for name in names if (number := getattr(signal, name, None))
        }
        if self.seconds < math.inf and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, max(self.seconds, 0.01))
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, _: FrameType | None) -> None:
        # Whoever started this process may pass on what it has got itself already: that is no second one.
        again = number == signal.SIGINT and self.signal is not None and time.monotonic() - self.at > 1
        if self.signal is None:
            self.signal, self.at = number, time.monotonic()
        if again or not self.training:
            raise KeyboardInterrupt


@dataclass
class Watch:
    """What the training of a run asks after every step: whether to stop there. It learns the run's pace on the way.

    Raises PassedOverError as soon as it is known that the run would not be done by `deadline`, unless `partial`. Under
    torchrun the first process decides for all.
    """

    config: Configuration
    measured: int  # images of query and gallery
    interruption: Interruption
    clock: Callable[[], float]
    deadline: float = math.inf  # of the clock
    partial: bool = False
    pace: Pace | None = None
    left: float | None = None  # seconds from here to the record, once that is known
    steps: int = 0

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def __call__(self, done: float, seconds: float) -> bool:
        self.steps += 1
        last = done >= self.config.epochs
        self.interruption.training = not last
        if self.steps == 1:
            self.loading = self.clock() - self.begun
        if self.steps in (1, SETTLING):
            self.mark = self.steps, done, seconds + self.wait()
        decides = self.steps == 1
        if self.pace is None and (self.steps == STEPS or last):
            self.pace, decides = self.learn(done, seconds + self.wait()), True
        if self.pace is not None:
            self.left = self.pace.left(self.config, done)
            late = self.clock() + MARGIN * self.left + RESERVE > self.deadline
            if decides and not self.partial and distributed.agreed(late):
                raise PassedOverError
        if distributed.processes() > 1 and self.steps % STEPS:
            return False  # they agree now and then, as all have to wait for it
        return distributed.agreed(self.interruption.signal is not None or self.clock() > self.deadline - RESERVE)

    def learn(self, done: float, seconds: float) -> Pace:
        """From the steps since the mark; from all, where there are no others."""
        steps, before, then = self.mark if self.mark[0] < self.steps else (0, 0.0, 0.0)
        image = (seconds - then) / (self.steps - steps) / self.config.batch_size * distributed.processes()
        return Pace(self.loading, (seconds - then) / (done - before), self.measured * image * FORWARD)

    def wait(self) -> float:
        """Until the device has done what it was given: seconds."""
        started = time.perf_counter()
        if choose_device(self.config.device).type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


@dataclass
class Queue:
    """Runs to be loaded or trained one after another, by `deadline` of `clock`, and what has become of them."""

    configs: Sequence[Configuration]
    records: Path  # where they go
    archive: Path | None = None  # a file that holds them all at any time, and is unpacked at the start
    deadline: float = math.inf
    clock: Callable[[], float] = time.monotonic
    report: Callable[[runs.Run], None] = lambda run: None  # told of each that is there
    fresh: bool = False  # whether only a record in `records` counts, and no published one
    weights: bool = False  # whether the weights of a run must be there, too
    finished: dict[str, runs.Run] = field(default_factory=dict)  # by name
    failed: dict[str, str] = field(default_factory=dict)  # why
    left: dict[str, float] = field(default_factory=dict)  # seconds that it takes yet, where they are known
    paces: dict[str, Pace] = field(default_factory=dict)  # by `speed`
    signal: int | None = None  # that ended the work

    def __post_init__(self) -> None:
        self.configs = list({config.name: config for config in self.configs}.values())
        self.packed: dict[str, Path] = {}  # what is in the archive
        if self.archive is not None and distributed.rank() == 0:
            self.packed = {path.name: path for path in unpack(self.archive, self.records)}
            pack(self.archive, self.packed.values())  # told before any work where that is not possible
        distributed.wait()

    @property
    def waiting(self) -> list[Configuration]:
        return [config for config in self.configs if config.name not in {**self.finished, **self.failed}]

    def has(self, config: Configuration) -> bool:
        """Whether the record of a run is there."""
        roots = [self.records] if self.fresh else [self.records, *record_roots()]
        return runs.find_record(config, roots) is not None

    def work(self, partial: bool = False) -> int:
        """Goes through the runs and returns the exit code: 0 where all are there, 1 where one failed, else `LEFT`.

        A run that would not be done in time is passed over; where `partial`, the first of these gets the time that is
        left at the end. An error ends its run alone, but under torchrun, whose processes would lose one another.
        """
        with Interruption(self.deadline - self.clock()) as interruption, runs.images_kept():
            try:
                for last in (False, True) if partial else (False,):
                    for config in self.waiting:
                        if not self.weights or self.take(config, interruption, last, weights=True):
                            self.take(config, interruption, last)
            except KeyboardInterrupt:
                pass
            self.signal = interruption.signal
        return 1 if self.failed else LEFT if self.waiting else 0

    def take(
        self, config: Configuration, interruption: Interruption, partial: bool = False, weights: bool = False
    ) -> bool:
        """Loads or trains a run, after the one that guides it; whether it is there, or where so asked its weights."""
        watch: Watch | None = None
        try:
            there = runs.weights_path(config).is_file() if weights else self.has(config)
            if not distributed.agreed(there):
                if config.guide is not None and not self.take(config.guide, interruption, partial, weights=True):
                    if config.guide.name in self.failed:
                        self.failed[config.name] = f"{label(config.guide)}, which guides it, failed"
                    return False
                pace = self.paces.get(speed(config))
                begun = runs.checkpoint_path(config).is_file()  # then nobody knows yet how much is left
                expected = 0.0 if pace is None or begun or partial else pace.loading + pace.left(config)
                if distributed.agreed(self.clock() + MARGIN * expected + RESERVE > self.deadline):
                    return False
                dataset = runs.open_dataset(config)
                images = len(dataset.query) + len(dataset.gallery)
                watch = Watch(config, images, interruption, self.clock, self.deadline, partial, pace)
            if weights:
                runs.with_weights(config, self.records, stop=watch)
                self.keep(runs.find_record(config, [self.records, *record_roots()]))
            else:
                finished = runs.run(config, records=self.records, fresh=self.fresh, stop=watch)
                self.keep(finished.record)
                self.finished[config.name] = finished
                if distributed.rank() == 0:
                    self.report(finished)
            return True
        except PassedOverError:
            return False
        except StoppedError:
            if interruption.signal is not None:
                raise KeyboardInterrupt from None
            return False
        except Exception as error:
            if distributed.processes() > 1:
                raise
            self.failed[config.name] = explain(error)
            return False
        finally:
            interruption.training = False
            if watch is not None and watch.pace is not None:
                self.paces[speed(config)] = watch.pace
                self.left[config.name] = watch.pace.loading + (watch.left or 0.0)

    def keep(self, record: Record | None) -> None:
        """Adds a record to the archive, if there is one, unless it is published."""
        if record is None or self.archive is None or distributed.rank() > 0:
            return
        if record.directory.parent != record_roots()[1] and record.name not in self.packed:
            self.packed[record.name] = record.directory
            pack(self.archive, self.packed.values())

    def summary(self) -> str:
        """What is left, with the time that each would take, and what failed, with the reason."""
        lines = ["left, and how long each would take here:"] if self.waiting else []
        for config in self.waiting:
            pace, seconds = self.paces.get(speed(config)), self.left.get(config.name)
            if pace is not None and seconds is None:
                seconds = pace.loading + pace.left(config)
            lines.append(f"  {label(config):32s} {'not measured' if seconds is None else duration(seconds)}")
        lines += ["failed:"] if self.failed else []
        named = {config.name: label(config) for config in self.configs}
        for reason in dict.fromkeys(self.failed.values()):  # which many may have in common, such as missing data
            these = [named.get(name, name) for name, why in self.failed.items() if why == reason]
            lines.append(f"  {', '.join(these)}: {reason}")
        return "\n".join(lines)


def explain(error: Exception) -> str:
    """An error in a line or two; one that a user cannot mend is printed whole at once."""
    words = in_words(error)
    if words is not None:
        return words
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def speed(config: Configuration) -> str:
    """Alike for runs that take equally long."""
    return config.model_copy(update={"seed": 0}).name


def label(config: Configuration) -> str:
    return f"{config.row_name} seed {config.seed}"


def duration(seconds: float) -> str:
    """Such as 45 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


# ------------------------------------------------------------------------------------------------------------- archive


def pack(archive: Path, records: Iterable[Path]) -> None:
    """Writes records to one compressed tar file, which is whole at every moment."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".{archive.name}.{os.getpid()}.partial")
    try:
        with tarfile.open(partial, "w:gz") as file:
            for record in records:
                file.add(record, record.name)
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)


def unpack(archive: Path, records: Path) -> list[Path]:
    """Puts the records of an archive, if it is there, where runs look for theirs; RecordError where it is none."""
    if not archive.exists():
        return []
    places = []
    records.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=records) as folder:
        try:
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise RecordError(f"{archive}: not an archive of records ({error}); name another file") from error
        for record in sorted(Path(folder).glob("*/record.json")):
            place = records / record.parent.name
            if not place.exists():
                shutil.move(record.parent, place)
            places.append(place)
    return places


# -------------------------------------------------------------------------------------------------------------- timing


class UntrainedMaps:
    """Called as `runs.heat_maps`: maps under an untrained network, and how long those of the whole split would take."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str, str], HeldMaps] = {}
        self.seconds = 0.0

    def __call__(self, guide: Configuration, split: str, classes: str, *, progress: bool) -> HeldMaps:
        if (key := (guide.name, split, classes)) not in self.made:
            device = choose_device(guide.device)
            dataset = runs.open_dataset(guide)
            material = Material(dataset, {}, runs.attributes_of(dataset))
            network: torch.nn.Module = SYSTEMS[guide.system].build(guide.from_scratch(), material.classes)
            network = network.to(device).eval()
            images = runs.images_of(dataset, split, guide.size, device)
            (pixels,) = images.batches([torch.arange(min(32, len(images)))])
            for _ in range(2):  # the first time tells nothing
                started = time.perf_counter()
                maps = attribute_heat_maps(network, normalise(resize(pixels, guide.size)))  # type: ignore[arg-type]
                maps = {stage: values.cpu().to(device) for stage, values in maps.items()}  # waits for the device
            self.seconds += (time.perf_counter() - started) / len(pixels) * len(images)
            self.made[key] = HeldMaps(maps, len(images))
        return self.made[key]


def pace_of(config: Configuration, interruption: Interruption, maps: UntrainedMaps) -> Pace:
    """From the first steps of a run, of which nothing is kept."""
    dataset = runs.open_dataset(config)
    watch = Watch(config, len(dataset.query) + len(dataset.gallery), interruption, time.monotonic)

    def stop(done: float, seconds: float) -> bool:
        stopped = watch(done, seconds)
        if watch.pace is not None:
            raise PassedOverError
        return stopped

    try:
        with tempfile.TemporaryDirectory() as folder:
            runs.make(config, Path(folder) / "records", False, Path(folder), stop, maps)
    except StoppedError:
        raise KeyboardInterrupt from None
    except PassedOverError:
        pass
    finally:
        interruption.training = False
    assert watch.pace is not None
    return watch.pace


def measure(configs: Iterable[Configuration], say: Callable[[str], None] = print) -> int:
    """Tells how long runs would take here, by the first steps of each that differs in more than the seed.

    Nothing is kept. Returns the exit code: 1 where one failed.
    """
    alike: dict[str, list[Configuration]] = {}
    if not (configs := list(configs)):
        say("the profile has no runs: there is nothing to measure")
        return 0
    for config in configs:
        alike.setdefault(speed(config), []).append(config)
    maps, total, missing, failed = UntrainedMaps(), 0.0, 0.0, 0
    with runs.images_kept(), Interruption() as interruption:
        for same in alike.values():
            config = same[0]
            try:
                pace = pace_of(config, interruption, maps)
            except Exception as error:
                failed += 1
                say(f"{config.row_name}: not measured: {explain(error)}")
                continue
            seconds = pace.loading + pace.left(config)
            total += seconds * len(same)
            missing += seconds * sum(runs.find_record(one) is None for one in same)
            times = f"{len(same)} × {duration(seconds)}"
            say(f"{config.row_name:32s} {times:16s} ({pace.epoch:.1f} s an epoch)")
    if maps.seconds:
        total += maps.seconds
        say(f"{'heat maps':32s} {duration(maps.seconds)}")
    device = choose_device(config.device)
    where = f"{device_name(device)}, {precision_of(config.precision, device)}"
    say(f"in all {duration(total)} on {where}; runs without a record: {duration(missing)}")
    return 1 if failed else 0
