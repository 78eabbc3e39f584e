"""The training loop: schedule, precision, checkpoints and history, for any network that can name its losses.

Everything random in an epoch comes of (seed, epoch), and in a step of its number too; the learning rate is a function
of the progress alone. So a resumed run needs no other state than the step it had reached.
"""

import contextlib
import io
import os
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from reidkit import distributed
from reidkit.data.resident import Draw, Images, normalise, resize
from reidkit.errors import UserError
from reidkit.graph import GraphedStep, can_capture, own_stream
from reidkit.places import replace_file
from reidkit.settings import Settings


class TrainingError(UserError):
    """Training cannot go on; the last good checkpoint is kept."""


class StoppedError(UserError):
    """Training was asked to stop, and goes on from the checkpoint that it has left."""


class CheckpointError(UserError):
    """A checkpoint or a weights file that is not what this run needs."""


@dataclass(frozen=True)
class Batch:
    """What a step sees; `indexes` and `draw` let it move stored heat maps as the images were moved."""

    images: Tensor  # (B, 3, H, W) augmented, normalised
    labels: Tensor  # (B, …) int64, rows of what `train` was given
    indexes: Tensor  # (B,) int64 into the training split
    draw: Draw
    progress: float  # epochs done


class WatchedBatch(Batch):
    """A batch that knows whether anybody has looked at its progress, which a CUDA graph would freeze."""

    looked = False

    def __getattribute__(self, name: str) -> Any:
        if name == "progress":
            object.__setattr__(self, "looked", True)
        return super().__getattribute__(name)


class Sampler(Protocol):
    def epoch(self, generator: torch.Generator) -> Tensor:
        """Image indexes, int64 (steps, B), fixed by the generator; called an epoch ahead, from another thread."""


Losses = Callable[[Batch], Mapping[str, Tensor]]  # scalars by name; "total" is minimised, the others are reported
Stop = Callable[[float, float], bool]  # (epochs done, seconds of training), asked after every step


@dataclass(frozen=True)
class Stage:
    """A part of the training, with an optimiser of its own and once through the whole schedule of the learning rate."""

    share: float = 1.0  # of the epochs
    learns: Mapping[nn.Module, float] | None = None  # what does, by its factor on the learning rate; None: all, by 1
    enter: Callable[[], object] = lambda: None  # called before it; on resuming too, before the checkpoint is read

    def modules(self, network: nn.Module) -> Mapping[nn.Module, float]:
        """What learns of a network. The rest of it has no gradients, and is in evaluation mode."""
        return {network: 1.0} if self.learns is None else self.learns

    def set_modes(self, network: nn.Module) -> None:
        """Training mode for what learns and for the network as a whole."""
        network.eval().training = True
        for module in self.modules(network):
            module.train()


def first_epochs(stages: Sequence[Stage], epochs: int) -> list[int]:
    """The epoch, from 0, that each stage begins with, and at last `epochs`; raises TrainingError where one has none."""
    shares = [stage.share for stage in stages]
    firsts = [round(epochs * sum(shares[:number]) / sum(shares)) for number in range(len(stages) + 1)]
    if len(set(firsts)) <= len(stages):
        raise TrainingError(
            f"epochs {epochs} are too few for {len(stages)} stages of {', '.join(f'{s:g}' for s in shares)} of them"
        )
    return firsts


def make_optimizer(
    network: nn.Module,
    stage: Stage,
    trainable: Iterable[nn.Parameter],
    undecayed: Iterable[nn.Module],
    settings: Settings,
) -> tuple[torch.optim.Optimizer, list[float]]:
    """A stage's optimiser, over those of `trainable` that learn in it, and each group's factor on the learning rate.

    The others of `trainable` have no gradients until a stage in which they learn.
    """
    free = {parameter for module in undecayed for parameter in module.parameters()}  # of weight decay
    for parameter in trainable:
        parameter.requires_grad_(False)
    groups: list[dict[str, Any]] = []
    factors: list[float] = []
    for module, factor in stage.modules(network).items():
        own = set(module.parameters())
        learning = [parameter.requires_grad_() for parameter in trainable if parameter in own]
        groups.append({"params": [parameter for parameter in learning if parameter not in free]})
        if apart := [parameter for parameter in learning if parameter in free]:
            groups.append({"params": apart, "weight_decay": 0.0})
        factors += [factor] * (2 if apart else 1)
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, **options), factors
    return torch.optim.SGD(groups, momentum=0.9, **options), factors


LOOK = 20  # steps between two looks at the losses, for which a GPU is waited for
CHECKPOINT_SECONDS = 60.0  # between two checkpoints, as one of a full network takes half a second


class Means:
    """Of an epoch: the means of what its steps report, and the first step whose loss is not finite.

    What the steps report is summed on the device, which only `look`, `average` and `first_bad` wait for. `begun` is the
    state of an epoch that was stopped in.
    """

    def __init__(self, device: torch.device, begun: Mapping[str, Any]) -> None:
        self.steps: int = begun.get("step", 0)
        self.looked: int = begun.get("looked", 0)  # the steps up to the last look
        self.sums: dict[str, float] = begun.get("sums", {})  # over these
        self.since: dict[str, Tensor] = {term: total.to(device) for term, total in begun.get("since", {}).items()}
        self.bad = torch.full((), -1, device=device)

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Counts a step, by its terms of the loss."""
        for term, value in terms.items():
            self.since[term] = self.since.get(term, torch.zeros_like(value)) + value
        bad = (self.bad < 0) & ~terms["total"].isfinite()
        self.bad = torch.where(bad, self.steps, self.bad)
        self.steps += 1

    def first_bad(self) -> int | None:
        """The step, from 0, whose loss is the first that is not finite; None while all are."""
        number = int(self.bad)
        return None if number < 0 else number

    def average(self) -> None:
        """Puts the mean over the processes in the place of each one's own sums."""
        distributed.average([self.since[term] for term in sorted(self.since)])

    def look(self) -> dict[str, float]:
        """The means over the steps since the last look."""
        self.average()
        found = {term: float(total) for term, total in self.since.items()}
        self.sums = {term: self.sums.get(term, 0.0) + value for term, value in found.items()}
        steps, self.looked, self.since = self.steps - self.looked, self.steps, {}
        return {term: value / steps for term, value in found.items()}

    def of_epoch(self) -> dict[str, float]:
        """The means over the steps up to the last look."""
        return {term: total / self.looked for term, total in self.sums.items()}

    def state(self) -> dict[str, Any]:
        """From which the epoch goes on."""
        return {"step": self.steps, "since": self.since, "sums": self.sums, "looked": self.looked}


@dataclass(frozen=True)
class Training:
    """What training leaves beside the weights."""

    history: pd.DataFrame  # a row per epoch: epoch, learning rate, the mean of every reported scalar
    steps: pd.DataFrame  # a row per look: step (counted from 1) and the means since the look before
    seconds: float
    devices: tuple[str, ...]  # where and in which precision it ran, one after another; several where it was resumed


def train(
    network: nn.Module,
    losses: Losses,
    images: Images,
    labels: Tensor,
    sampler: Sampler,
    settings: Settings,
    *,
    seed: int,
    directory: Path,
    identity: Mapping[str, Any],
    name: str = "training",
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Stop | None = None,
    phases: Sequence[float] = (),
    stages: Sequence[Stage] = (Stage(),),
    undecayed: Sequence[nn.Module] = (),
    graph: bool = True,
    progress: bool = True,
) -> Training:
    """Trains `network` in place.

    `labels` is int64 (N, …) over `images`; `directory` holds `checkpoint.pt`, from which an interrupted run goes on to
    the same numbers, and which is written after an epoch once it is `checkpoint_seconds` old; `identity` says what the
    checkpoint belongs to. Where `stop` says so, a checkpoint is written at once and StoppedError raised.

    On a GPU steps are replayed as a CUDA graph, unless `graph` is False, in fp16 and under torchrun: `losses` is then
    called for a few steps only, and must do the same on the device each time. `phases` names the progress, in epochs,
    from which it does otherwise; where it looks at the progress and nothing is named, there is no graph. What changes
    with a stage needs no such name. The parameters of `undecayed` modules have no weight decay.

    Raises TrainingError at a loss that is not finite, for batches that torchrun's processes cannot share, and where a
    stage has no epoch, CheckpointError where the checkpoint is damaged, belongs to another run, or was made by another
    number of processes.

    Under torchrun all processes call this, and the first one evaluates, reports and keeps the checkpoint.
    """
    device = next(network.parameters()).device
    checkpoint = directory / "checkpoint.pt"
    identity = {**identity, "processes": distributed.processes()}
    firsts = first_epochs(stages, settings.epochs)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer: torch.optim.Optimizer
    factors: list[float]
    graphed: GraphedStep | None = None
    precision = precision_of(settings.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    history: list[dict[str, float]] = []
    trace: list[dict[str, float]] = []
    devices: list[str] = []
    seconds, saved_at = 0.0, time.perf_counter()
    begun: dict[str, Any] = {}  # the state of an epoch that was stopped in
    hidden = not progress or distributed.rank() > 0
    capture = can_capture(device, precision)

    labels = labels.to(device)
    augmentation = settings.augmentation()

    def step(progress: float, pixels: Tensor, chosen: Tensor, *drawn: Tensor) -> dict[str, Tensor]:
        """From images, uint8 (B, 3, h, w), and their indexes (B,) to the next weights; the terms of the loss."""
        draw = Draw(*drawn)
        batch = WatchedBatch(augmentation(pixels, draw), labels[chosen], chosen, draw, progress)
        with autocast(device, precision):
            terms = losses(batch)
        if graphed and batch.looked and not phases:
            graphed.refuse("the losses look at the progress, and no phases are named")
        scaler.scale(terms["total"]).backward()
        distributed.average([p.grad for p in trainable if p.grad is not None])
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)  # here, so that no gradient outlives the step, in a graph or out of it
        return {term: value.detach().float() for term, value in terms.items()}

    def seed_of(epoch: int) -> int:
        return seed * 1_000_003 + epoch

    def rate_at(done: float, start: int, length: int) -> float:
        """The learning rate after `done` epochs: a stage, from `start` on, has the whole schedule to itself."""
        return settings.learning_rate_at((done - start) * (settings.epochs / length))

    def save(begun: Mapping[str, Any]) -> None:
        """The first process keeps where training has come to; `begun`: within an epoch, its state."""
        nonlocal saved_at
        if distributed.rank() == 0:
            state = {
                "identity": identity,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "history": history,
                "steps": trace,
                "devices": devices,
                "seconds": seconds,
                "begun": dict(begun),
            }
            save_checkpoint(checkpoint, state)
        saved_at = time.perf_counter()

    def demand_finite(means: Means, epoch: int, rate: float) -> None:
        if (bad := means.first_bad()) is not None:
            raise TrainingError(
                f"{name}: the loss is not finite at step {bad + 1} of epoch {epoch + 1} (learning rate "
                f"{rate:.2e}, {precision}). No record is written; the checkpoint before it, if there was one, is kept "
                f"at {checkpoint}. Lower learning_rate or use precision: fp32."
            )

    def drawn(epoch: int) -> tuple[Tensor, Draw]:
        """Of this process: an epoch's indexes (steps, B), and what is drawn for its steps · B images, on the CPU."""
        generator = torch.Generator().manual_seed(seed_of(epoch))
        whole = sampler.epoch(generator)  # (steps, B) of all processes
        try:
            places = distributed.share(torch.arange(whole.numel()).view(whole.shape))
        except ValueError as error:
            raise TrainingError(f"{name}: {error}") from error
        return whole.flatten()[places], augmentation.draw(whole.numel(), generator)[places.flatten()]

    def begin(stage: Stage, state: Mapping[str, Any] | None = None) -> None:
        """Makes the optimiser of a stage, and goes on from the state of a checkpoint within it if one is given."""
        nonlocal optimizer, graphed, factors
        stage.enter()
        optimizer, factors = make_optimizer(network, stage, trainable, undecayed, settings)
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:  # a graph would freeze a number; and it may be another device's
            group["lr"] = torch.tensor(settings.learning_rate, device=device) if capture else settings.learning_rate
        if graph and capture:
            graphed = GraphedStep(
                step, optimizer, phases, lambda text: None if hidden else tqdm.write(f"{name}: {text}", file=sys.stderr)
            )

    if checkpoint.exists():
        state = load_checkpoint(checkpoint, identity)
        history, trace, devices, seconds = (state[key] for key in ("history", "steps", "devices", "seconds"))
        begun = state.get("begun", {})
        entered = len(history) + bool(begun)
        *passed, stage = [stage for stage, start in zip(stages, firsts, strict=False) if start < entered]
        for earlier in passed:
            earlier.enter()
        begin(stage, state)
        scaler.load_state_dict(state["scaler"])
    if (here := f"{device_name(device)}, {precision}") not in devices:
        devices.append(here)

    with (
        reproducible(settings.deterministic),
        torch.random.fork_rng(devices=[]),  # the CPU's numbers go on afterwards as before
        own_stream(device) if graph and capture else contextlib.nullcontext(),
        ThreadPoolExecutor(1) as pool,
        tqdm(desc=name, disable=hidden, unit="step") as bar,
    ):
        epochs = range(len(history), settings.epochs)
        ahead = [pool.submit(drawn, epoch) for epoch in epochs[:1]]
        for epoch in epochs:
            started = time.perf_counter()
            indexes, draws = ahead.pop().result()
            if epoch < epochs[-1]:
                ahead.append(pool.submit(drawn, epoch + 1))  # while the device is at work
            steps = len(indexes)
            draws, chosen = draws.to(device), indexes.to(device)
            means = Means(device, begun)
            begun = {}
            first = means.steps
            bar.total = bar.n + steps * (settings.epochs - epoch) - first
            # Steps of the epochs before: not all have as many, of P×K batches.
            before = round(trace[-1]["step"]) - means.looked if trace else 0
            if epoch in firsts and not first:
                begin(stages[firsts.index(epoch)])
            at = bisect(firsts, epoch) - 1
            start, length = firsts[at], firsts[at + 1] - firsts[at]
            stages[at].set_modes(network)
            rate = rate_at(epoch + max(0, first - 1) / steps, start, length)
            for number, pixels in enumerate(images.batches(list(indexes[first:])), first):
                torch.manual_seed(seed_of(epoch) + 10_000_019 * number)  # of what the network draws, such as dropout
                done = epoch + number / steps
                rate = rate_at(done, start, length)
                set_learning_rate(optimizer, rate, factors)
                draw = draws[slice(number * indexes.shape[1], (number + 1) * indexes.shape[1])]
                means.add((graphed or step)(done, pixels, chosen[number], draw.flip, draw.shift, draw.erase))
                bar.update()
                if means.steps % LOOK == 0 or means.steps == steps:
                    demand_finite(means, epoch, rate)
                    trace.append({"step": before + means.steps} | means.look())
                    shown = {term: f"{mean:.3f}" for term, mean in means.of_epoch().items()}
                    bar.set_postfix({"epoch": epoch + 1, **shown}, refresh=False)
                spent = seconds + time.perf_counter() - started
                reached = epoch + means.steps / steps
                if stop is not None and stop(reached, spent):
                    demand_finite(means, epoch, rate)
                    means.average()
                    seconds = spent
                    save(means.state())
                    distributed.wait()
                    raise StoppedError(
                        f"{name}: stopped after {reached:.1f} of {settings.epochs} epochs; it goes on from {checkpoint}"
                    )
            row = {"epoch": epoch + 1, "learning rate": rate} | means.of_epoch()
            seconds += time.perf_counter() - started
            history.append(row)
            evaluated = settings.evaluate_every and (epoch + 1) % settings.evaluate_every == 0
            if evaluate and evaluated and distributed.rank() == 0:
                row |= evaluate()
            if time.perf_counter() - saved_at >= checkpoint_seconds or epoch + 1 == settings.epochs:
                save({})
    return Training(pd.DataFrame(history), pd.DataFrame(trace), seconds, tuple(devices))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, factors: Iterable[float] = (1.0,)) -> None:
    """Each group's is `rate` times its factor."""
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate * factor)
        else:
            group["lr"] = rate * factor


@torch.inference_mode()
def extract_features(
    network: nn.Module,
    images: Images,
    settings: Settings,
    *,
    see: Callable[..., Tensor] | None = None,
    given: Callable[[Tensor, Tensor], Any] | None = None,
    chosen: Tensor | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Tensor:
    """The network's embedding of every image, float32 (N, C) on the CPU, the network in evaluation mode.

    `see` is called in its stead, for something else of each image. `given` makes what it takes beside the images, from
    their indexes and the normalised images. `chosen` (N,): the indexes of the images, all unless given.
    """
    network.eval()
    see = see or network
    device = next(network.parameters()).device
    precision = precision_of(settings.precision, device)
    chosen = torch.arange(len(images)) if chosen is None else chosen
    parts = list(chosen.split(batch_size)) if len(chosen) else []
    features = []
    batches = zip(parts, images.batches(parts), strict=True)
    for indexes, pixels in tqdm(batches, total=len(parts), desc="features", disable=not progress, leave=False):
        normal = normalise(resize(pixels, settings.size))
        beside = () if given is None else (given(indexes, normal),)
        with autocast(device, precision):
            features.append(see(normal, *beside).float())
    return torch.cat(features).cpu() if features else torch.empty(0, 0)  # one wait for the device


def precision_of(precision: str, device: torch.device) -> str:
    """What `auto` is on a device: bf16 where it has instructions for it, else fp32; any other precision is as it is.

    Without those instructions a CPU imitates bf16, and takes ten times as long as for fp32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")) else "fp32"


def device_name(device: torch.device) -> str:
    """A device in words, as a record tells it: how many, which, and on a CPU with how many threads."""
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {threads} thread{'s'[: threads > 1]}"
    return f"{distributed.processes()} × {name}" if distributed.processes() > 1 else name


def autocast(device: torch.device, precision: str) -> torch.autocast:
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def choose_device(name: str) -> torch.device:
    """auto, cpu or cuda as a device; raises TrainingError for another name, and where there is no such device."""
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"device: there is no {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device: cuda was asked for, but torch sees no CUDA device; use device: auto or cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name if name != "auto" else "cpu")


@contextlib.contextmanager
def reproducible(enabled: bool) -> Iterator[None]:
    """Deterministic kernels within the block; the settings before are put back after it.

    They come with a guard that fills every new tensor with NaN, a tenth of a step on a CPU: nothing here reads what was
    not written, so it is left out.
    """
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark  # type: ignore[attr-defined]
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(enabled, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not enabled
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint at `path` in one step, so that a killed process leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), whole := io.BytesIO())  # not to the disk: of a full one torch says nothing intelligible
    replace_file(path, whole.getbuffer())


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a checkpoint without running code from it; raises CheckpointError where it is damaged or another run's."""
    advice = f"Delete {path} to train from the start."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise anything: RuntimeError, EOFError, TypeError, …
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: truncated, or not a checkpoint that is safe to read ({reason}). {advice}"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
        raise CheckpointError(f"{path}: not a checkpoint of reidkit. {advice}")
    made, here = state["identity"].get("processes"), identity.get("processes")
    if made != here:
        raise CheckpointError(
            f"{path}: was made by {made} processes, and this is one of {here}: batch norm and batch-hard mining see a "
            f"process's share of a batch, so that the run would become another. Start {made} processes. {advice}"
        )
    if state["identity"] != dict(identity):
        apart = [
            f"{key} {str(value)[:12]} and not {str(identity.get(key))[:12]}"
            for key, value in state["identity"].items()
            if identity.get(key) != value
        ]
        raise CheckpointError(
            f"{path}: the checkpoint is of another run ({', '.join(apart)}). Give other data a build folder of their "
            f"own (REIDKIT_BUILD). {advice}"
        )
    return dict(state)
