"""The chapters as JupyterLab opens them (`make lab`): text as notebooks, the code that only draws folded away."""

from typing import Any

import jupytext

DRAWING = {"hide-input", "remove-input"}  # tags of cells whose code pages fold or leave out


class ChapterManager(jupytext.TextFileContentsManager):  # type: ignore[misc]
    """Hides in JupyterLab what the pages hide, but for the parameters; a click on the bar beside a cell unfolds it.

    Chapters are saved as they were opened: that is not written into them (`book/jupytext.toml` filters it), nor is what
    the kernel says of its language, which jupytext would put behind every `{code-cell}`.
    """

    def get(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        model: dict[str, Any] = super().get(*args, **kwargs)
        if model["type"] == "notebook" and model["content"] is not None:
            for cell in model["content"].cells:
                tags = cell.metadata.get("tags", [])
                if DRAWING.intersection(tags) and "parameters" not in tags:
                    cell.metadata.setdefault("jupyter", {})["source_hidden"] = True
        return model

    def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        if model["type"] == "notebook" and path.endswith(".md"):
            model["content"]["metadata"].pop("language_info", None)
        saved: dict[str, Any] = super().save(model, path)
        return saved
