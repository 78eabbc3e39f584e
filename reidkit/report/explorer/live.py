"""What an explorer with a kernel has besides: to train what is missing, and to rank a picture of the reader's own."""

import base64
import io
import threading
import time
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import torch
from ipywidgets import HTML, Button, Dropdown, FileUpload, FloatProgress, HBox, Layout, Output, VBox
from PIL import Image, ImageOps, UnidentifiedImageError

from reidkit.data.resident import normalise, resize
from reidkit.profile import Profile
from reidkit.report.explorer.experiments import Experiment, experiments
from reidkit.report.explorer.page import Explorer
from reidkit.report.explorer.pictures import TILE
from reidkit.report.markup import markup
from reidkit.report.sheets import Picture, picture
from reidkit.runs import Run, features, load_network, open_dataset, run, weights_path, with_weights
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import RESULTS
from reidkit.training import StoppedError

WIDE = Layout(width="36rem", max_width="100%")
GREY = (124, 116, 104)  # ImageNet's mean, which is zero to a network
SQUEEZE = 1.3  # how far a picture's sides may be out of proportion before it is framed


def live(profile: Profile) -> VBox:
    """The explorer of a profile with what needs a kernel."""
    shown, own = Output(), OwnPicture(profile)

    def show(start: dict[str, str] | None = None) -> None:
        shown.outputs = ()
        shown.append_display_data(Explorer(experiments(profile), addressed=False, start=start))

    def trained(row: str) -> None:
        show({"b": f"{profile.profile}:{row}"})
        own.refresh()

    show()
    return VBox([shown, Training(profile, trained).box, own.box])


class Training:
    """Trains a run that the profile has no record of, and then calls `trained` with its row.

    In a thread of its own, so that the kernel goes on to answer: the button that stops it needs that.
    """

    def __init__(self, profile: Profile, trained: Callable[[str], None]) -> None:
        self.profile, self.trained = profile, trained
        self.missing = Dropdown(description="Not run yet", style={"description_width": "6rem"}, layout=WIDE)
        self.button, self.stop = Button(description="Train it"), Button(description="Stop", disabled=True)
        self.bar, self.said = FloatProgress(layout=Layout(width="36rem", max_width="100%", display="none")), HTML()
        self.asked = threading.Event()  # to stop
        self.thread: threading.Thread | None = None
        self.button.on_click(self.start)
        self.stop.on_click(self.end)
        buttons = HBox([self.button, self.stop])
        self.box = VBox([HTML("<h3>Train a run that is missing</h3>"), self.missing, buttons, self.bar, self.said])
        self.refresh()

    def refresh(self) -> None:
        options = [
            (f"{experiment.system.title}: {experiment.label(row)}", row)
            for experiment in _own(self.profile)
            for row, records in experiment.records.items()
            if not records
        ]
        offer(self.missing, options)
        self.button.disabled = not options

    def start(self, _: object = None) -> None:
        self.asked.clear()
        self.button.disabled, self.missing.disabled, self.stop.disabled = True, True, False
        self.bar.value, self.bar.layout.display = 0.0, ""
        self.say("Busy: making the network and the data ready …")
        self.thread = threading.Thread(target=self.train, args=(self.missing.value, self.missing.label), daemon=True)
        self.thread.start()

    def end(self, _: object = None) -> None:
        self.asked.set()
        self.stop.disabled = True
        self.say("Stopping after this step …")

    def train(self, row: str, label: str) -> None:
        config = self.profile.config(row)
        try:
            if config.guide is not None:
                with_weights(config.guide, progress=False, stop=self.watch(config.guide, "the network that guides it"))
            finished = run(config, progress=False, stop=self.watch(config, label))
        except StoppedError:
            self.say("Stopped. What it has learned is kept: train it again, and it goes on from there.")
        except Exception as error:  # a thread has nobody else to tell
            self.say(f"{label}: {type(error).__name__}: {error}")
        else:
            self.say("Busy: drawing the explorer anew …")
            self.trained(row)
            self.say(f"{label} is trained, and shown above as B. {scores(finished)}")
        finally:
            self.bar.layout.display = "none"
            self.missing.disabled, self.stop.disabled = False, True
            self.refresh()

    def watch(self, config: Configuration, label: str) -> Callable[[float, float], bool]:
        """What training asks after every step: it tells how far it is, and ends where it was asked to."""
        told = 0.0

        def ask(done: float, seconds: float) -> bool:
            nonlocal told
            if not self.asked.is_set() and (time.monotonic() - told > 0.5 or done >= config.epochs):
                told = time.monotonic()
                self.bar.max, self.bar.value = config.epochs, done
                left = seconds / done * (config.epochs - done)
                self.say(f"Busy: training {label}, epoch {done:.1f} of {config.epochs}, about {_minutes(left)} left.")
                if done >= config.epochs:
                    self.say("Busy: ranking the gallery …")
            return self.asked.is_set()

        return ask

    def say(self, text: str) -> None:
        self.said.value = f'<div aria-live="polite">{escape(text)}</div>'


def scores(finished: Run) -> str:
    """What a run came to, in a sentence."""
    metrics, seconds = finished.metrics, sum(finished.record.provenance["seconds"].values())
    return f"mAP {100 * metrics['mAP']:.1f}, Rank-1 {100 * metrics['rank-1']:.1f}, after {_minutes(seconds)}."


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def offer(dropdown: Dropdown, options: Sequence[tuple[str, str]]) -> None:
    """Offers values by their labels; what is chosen stays so while there is one."""
    chosen, values = dropdown.value, [value for _, value in options]
    dropdown.options = options
    dropdown.index = values.index(chosen) if chosen in values else 0 if values else None


class OwnPicture:
    """Ranks the gallery for a picture that the reader uploads, by a run that needs nothing else and has its weights."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.network = Dropdown(description="Ranked by", style={"description_width": "6rem"}, layout=WIDE)
        self.upload = FileUpload(accept="image/*", description="Your picture")
        self.answer = HTML()
        self.configs: dict[str, Configuration] = {}
        self.refreshing = False
        self.upload.observe(self.show, "value")
        self.network.observe(self.show, "value")
        self.box = VBox([HTML("<h3>Rank a picture of your own</h3>"), self.network, self.upload, self.answer])
        self.refresh()

    def refresh(self) -> None:
        """Offers the runs that there are now; what is chosen, uploaded and answered stays."""
        alone = [
            (experiment.label(row), config)
            for experiment in _own(self.profile)
            for row, records in experiment.records.items()
            if records and weights_path(config := experiment.config(row)).is_file()
            if config.metric == "cosine" and not config.needs - {"attributes"}  # which are for training
        ]
        self.configs = {config.name: config for _, config in alone}
        self.refreshing = True  # nothing is ranked anew for that
        offer(self.network, [(label, config.name) for label, config in alone])
        self.refreshing = False
        self.upload.disabled = not self.configs
        if not self.configs:
            self.say("No run of this profile has its weights here: train one first.")
        elif not self.upload.value:
            self.answer.value = ""

    def show(self, _: object = None) -> None:
        if self.refreshing or not self.upload.value or self.network.value is None:
            return
        file = self.upload.value[0]
        try:
            given = read_picture(bytes(file["content"]))
        except ValueError as error:
            self.say(f"{file['name']}: {error}")
            return
        self.say("Busy: ranking the gallery …")
        self.answer.value = rank_picture(self.configs[self.network.value], given)

    def say(self, text: str) -> None:
        self.answer.value = f'<p aria-live="polite">{escape(text)}</p>'


def read_picture(file: bytes) -> Image.Image:
    """A picture as it is to be looked at. Raises ValueError, with a short reason, for a file that is none."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("no picture of a kind that is known here") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture that cannot be read ({error})") from error


def framed(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture of nearly the proportions of `size` (height, width) as it is, another one with grey beside it."""
    ratio = (image.width / image.height) / (size[1] / size[0])
    if 1 / SQUEEZE < ratio < SQUEEZE:
        return image
    height = max(image.height, round(image.width * size[0] / size[1]))
    return ImageOps.pad(image, (round(height * size[1] / size[0]), height), color=GREY)


def rank_picture(config: Configuration, given: Image.Image) -> str:
    """The pictures of a finished run's gallery that are most like the given one, with their cosine similarities."""
    dataset = open_dataset(config)
    (gallery,) = features(config, dataset, ("gallery",))
    network = load_network(config, dataset)
    image = framed(given, config.size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        feature = network(normalise(resize(pixels, config.size)))  # (1, C)
    similar = torch.nn.functional.cosine_similarity(feature, gallery).topk(min(RESULTS, len(gallery)))
    shown = [(data_uri(np.array(image)), "your picture", "your picture")]
    for rank, (value, i) in enumerate(zip(similar.values.tolist(), similar.indices.tolist(), strict=True), start=1):
        path = dataset.gallery.paths[i]
        shown.append((data_uri(picture(path)), path.name, f"{rank}: {value:.2f}"))
    text = "Rank and cosine similarity."
    if image is not given:
        text += (
            f" Your picture is {given.width}×{given.height}; the network looks at people cut out to "
            f"{config.size[1]}×{config.size[0]}, so that it was framed with grey. Cut the person out for a better list."
        )
    return markup("found.html", style=markup("style.css"), text=text, shown=shown)


def data_uri(picture: Picture) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).resize(TILE, Image.Resampling.LANCZOS).save(file, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _own(profile: Profile) -> list[Experiment]:
    return [Experiment(system, profile) for system in SYSTEMS.values() if system.ranks and profile.rows(system.name)]
