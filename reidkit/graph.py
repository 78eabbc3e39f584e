"""A training step as one CUDA graph: recorded once and then launched whole, with no Python between its kernels.

A step of ResNet-50 is some thousand kernels. A fast GPU is done with those of small images before a CPU has launched
them; replayed, they follow one another at once, and give the same numbers to the last bit.

Recorded is what the device does, on which memory, and nothing of what Python decided on the way. So the inputs are
copied to where the graph reads them, the learning rate is a tensor, and where Python would decide otherwise the step is
recorded anew.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from reidkit import distributed

EAGER_STEPS = 3  # before a step is recorded: what the first ones allocate, choose and compile is no part of it


Step = Callable[..., dict[str, Tensor]]
"""(progress, *inputs), epochs done and tensors of the device -> detached scalars by name."""


def can_capture(device: torch.device, precision: str) -> bool:
    """Whether a step on this device may be recorded.

    In fp16 the CPU looks at the gradients before it takes a step; and several processes exchange theirs in one.
    """
    return device.type == "cuda" and precision != "fp16" and distributed.processes() == 1


class GraphedStep:
    """A step that is taken as it is for `EAGER_STEPS` calls, and replayed from a CUDA graph from then on.

    The step may do otherwise from a progress of `phases` on (in epochs), but must do the same between them. Where it
    cannot be recorded, it is taken as it is, and `say` is told why. What a call returns holds until the next one.
    To be used within `own_stream`.
    """

    def __init__(
        self,
        step: Step,
        optimizer: torch.optim.Optimizer,
        phases: Sequence[float] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.step, self.optimizer, self.phases, self.say = step, optimizer, phases, say
        self.refused = False
        self.forget()

    def forget(self, key: tuple[object, ...] = ()) -> None:
        """Nothing is recorded; eager steps are counted from 0 for calls of `key`."""
        self.key, self.eager_steps = key, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []  # where the graph reads, and where it writes
        self.outputs: dict[str, Tensor] = {}

    def refuse(self, reason: str) -> None:
        """From now on the step is taken as it is."""
        if self.refused:
            return
        self.refused = True
        self.forget(self.key)
        self.say(f"steps are not taken as a CUDA graph, only slower: {reason}")

    def __call__(self, progress: float, *inputs: Tensor) -> dict[str, Tensor]:
        key = (sum(progress >= phase for phase in self.phases), *(tensor.shape for tensor in inputs))
        if key != self.key:
            self.forget(key)
        if self.eager_steps == EAGER_STEPS and self.graph is None and not self.refused:
            self.capture(progress, inputs)
        if self.graph is None:
            self.eager_steps += 1
            return self.step(progress, *inputs)
        for static, given in zip(self.inputs, inputs, strict=True):
            static.copy_(given)
        self.graph.replay()
        return self.outputs

    def capture(self, progress: float, inputs: Sequence[Tensor]) -> None:
        """Records the step, which is not taken by that."""
        self.inputs = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with capturable(self.optimizer), torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self.outputs = self.step(progress, *self.inputs)
            self.graph = graph
        except Exception as error:  # whatever it is: if it does not come of recording, the step itself will raise it
            self.optimizer.zero_grad(set_to_none=True)  # what was only recorded is no gradient
            cause = error.__context__ or error  # to end a recording that went wrong is another error
            self.refuse(f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}")


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Work within the block goes to a stream of its own, the only kind that can be recorded."""
    before, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(before)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        before.wait_stream(own)


@contextlib.contextmanager
def capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Tells an optimiser that its step is being recorded; a fused one with tensors for all that changes only asks."""
    asked = [group for group in optimizer.param_groups if "capturable" in group]  # SGD does not ask
    for group in asked:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in asked:
            group["capturable"] = False
