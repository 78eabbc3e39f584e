from pathlib import Path

from PIL import Image

from reidkit.report.picture import PATH, answer


def test_the_readmes_picture_is_of_the_published_records(build: Path) -> None:
    with Image.open(PATH) as picture:
        assert picture.info.get("Description") == answer()[1], "draw it again: python -m reidkit.report.picture"
