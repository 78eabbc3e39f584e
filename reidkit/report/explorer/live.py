"""What an explorer with a kernel has besides: to train what is missing, and to rank a picture of the reader's own."""

import io
from collections.abc import Callable

import numpy as np
import torch
from ipywidgets import HTML, Button, Dropdown, FileUpload, Layout, Output, VBox
from markupsafe import Markup
from PIL import Image

from reidkit.data.resident import normalise, resize
from reidkit.profile import Profile
from reidkit.report.explorer.experiments import Experiment, experiments
from reidkit.report.explorer.pictures import RESULTS, data_uri
from reidkit.report.explorer.widgets import explorer
from reidkit.report.markup import markup
from reidkit.report.sheets import picture
from reidkit.runs import features, load_network, open_dataset, run, weights_path
from reidkit.settings import Configuration


def live(profile: Profile) -> VBox:
    """The explorer of a profile with what needs a kernel."""
    shown = VBox([explorer(experiments(profile), links=False)])

    def renew() -> None:
        shown.children = (explorer(experiments(profile), links=False), shown.children[1], own_picture(profile))

    shown.children = (*shown.children, training(profile, renew), own_picture(profile))
    return shown


def training(profile: Profile, trained: Callable[[], None]) -> VBox:
    """Trains a run that the profile has no record of, with a progress bar, and then calls `trained`."""
    missing, button, output = _choice("Not run yet"), Button(description="Train it"), Output()

    def refresh() -> None:
        missing.options = [
            (f"{experiment.system.title}: {experiment.label(row)}", row)
            for experiment in _own(profile)
            for row, records in experiment.records.items()
            if not records
        ]
        missing.index = 0 if missing.options else None
        button.disabled = not missing.options

    def train(_: Button) -> None:
        button.disabled = True
        output.clear_output()
        try:
            with output:  # which shows the progress bar, and in a notebook what goes wrong
                print(run(profile.config(missing.value)).record.name)
                trained()
        finally:
            refresh()

    refresh()
    button.on_click(train)
    return VBox([missing, button, output])


def own_picture(profile: Profile) -> VBox:
    """Ranks the gallery for a picture that the reader uploads, by a run that needs nothing else and has its weights."""
    answer, upload, network = HTML(), FileUpload(accept="image/*", description="Your picture"), _choice("Ranked by")
    network.options = [
        (experiment.label(row), config)
        for experiment in _own(profile)
        for row, records in experiment.records.items()
        if records and weights_path(config := experiment.config(row)).is_file() and config.guide is None
    ]
    network.index = 0 if network.options else None
    upload.disabled = not network.options
    if upload.disabled:
        answer.value = '<div class="rx"><p>No run of this profile has its weights here: train one first.</p></div>'

    def show(_: object) -> None:
        if upload.value:
            answer.value = str(rank_picture(network.value, bytes(upload.value[0]["content"])))

    upload.observe(show, "value")
    network.observe(show, "value")
    return VBox([network, upload, answer])


def rank_picture(config: Configuration, file: bytes) -> Markup:
    """The pictures of a finished run's gallery that are most like the one in `file`, with their cosine similarities."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            given = np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        text = f"This is no picture that can be read: {error}"
        return markup("pictures.html", text=text, shown=(), truth=(), wide=False, style="")
    dataset = open_dataset(config)
    (gallery,) = features(config, dataset, ("gallery",))
    network = load_network(config, dataset)
    with torch.inference_mode():
        feature = network(normalise(resize(torch.from_numpy(given).permute(2, 0, 1)[None], config.size)))  # (1, C)
    similar = torch.nn.functional.cosine_similarity(feature, gallery).topk(min(RESULTS, len(gallery)))
    found = [(given, "your picture", "your picture")]
    for rank, (value, i) in enumerate(zip(similar.values.tolist(), similar.indices.tolist(), strict=True), start=1):
        path = dataset.gallery.paths[i]
        found.append((picture(path), path.name, f"{rank}: {value:.2f}"))
    image_tag = Markup('<img src="{}" alt="{}" width="40">')
    shown = [(image_tag.format(data_uri(Image.fromarray(p).resize((64, 128))), name), text) for p, name, text in found]
    return markup("pictures.html", text="Rank and cosine similarity:", shown=shown, truth=(), wide=False, style="")


def _own(profile: Profile) -> list[Experiment]:
    return [experiment for experiment in experiments(profile) if experiment.profile is profile]


def _choice(description: str) -> Dropdown:
    return Dropdown(description=description, style={"description_width": "6rem"}, layout=Layout(width="30rem"))
