"""What the chapter on one's own parts tells people to do is done here, in a copy of the project, and then looked at."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

from reidkit.places import project_root

CHAPTER = project_root() / "book" / "extend.md"
CELLS = [cell.source for cell in jupytext.read(CHAPTER).cells if cell.cell_type == "code"]
PROFILE = re.search(r"~~~yaml\n(.*?)~~~", CHAPTER.read_text(encoding="utf-8"), re.DOTALL)


def belongs_in(file: str) -> str:
    """The code of the cell that says of itself that it belongs in a file."""
    (cell,) = (cell for cell in CELLS if cell.startswith(f"# {file}\n"))
    return cell.partition("\n")[2]


def line_of(table: str) -> str:
    """`TABLE["name"] = value` of a cell, as a line in the table."""
    (cell,) = (cell for cell in CELLS if f"\n{table}[" in cell)
    name, value = re.fullmatch(rf"{table}\[(.*?)\] = (.*)", cell.splitlines()[-1]).groups()  # type: ignore[union-attr]
    return f"    {name}: {value},\n"


def insert(file: Path, before: str, text: str) -> None:
    content = file.read_text(encoding="utf-8")
    assert content.count(before) == 1, before
    file.write_text(content.replace(before, text + before), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the chapter's module, loss and system in their files, a line each, and its parameter file."""
    root = tmp_path_factory.mktemp("extend") / "project"
    for folder in ("reidkit", "book", "parameters", "tests"):
        shutil.copytree(project_root() / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project_root() / "pyproject.toml", root)
    models, losses, systems = (root / "reidkit" / place for place in ("models/attention.py", "losses.py", "systems"))
    insert(models, "@dataclass(frozen=True)\nclass Placement:", belongs_in("reidkit/models/attention.py") + "\n\n\n")
    insert(models, '}\n"""The attention modules by the names', line_of("ATTENTION"))
    insert(losses, "def at_least_float32(", belongs_in("reidkit/losses.py") + "\n\n\n")
    insert(systems / "joint_loss.py", "from reidkit.losses import", "from reidkit.losses import ContrastiveLoss\n")
    insert(systems / "joint_loss.py", '}\n"""The losses by the names', line_of("OBJECTIVES"))
    (systems / "colours.py").write_text(belongs_in("reidkit/systems/colours.py"), encoding="utf-8")
    insert(systems / "__init__.py", ")\nSYSTEMS: dict", '    "colours",\n')
    insert(root / "tests" / "test_losses.py", "]\nPK_LABELS =", "    ContrastiveLoss(),\n")
    insert(
        root / "tests" / "test_losses.py",
        "from reidkit.losses import (",
        "from reidkit.losses import ContrastiveLoss\n",
    )
    assert PROFILE
    (root / "parameters" / "mine.yaml").write_text(PROFILE[1], encoding="utf-8")
    done = do(root, "-m", "reidkit", "run", "mine")
    assert len(done.splitlines()) == 5
    return root


def do(root: Path, *arguments: str) -> str:
    """What a Python command says that succeeds in the copy."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "REIDKIT_BUILD": str(root / "build")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_lines_that_the_chapter_counts_are_as_many_as_it_says() -> None:
    numbers = {"seven": 7, "twelve": 12, "twenty-two": 22}
    told = re.search(r"module takes (.*?) lines, a loss (.*?), a whole\s+method (.*?),", CHAPTER.read_text())
    assert told
    files = ("reidkit/models/attention.py", "reidkit/losses.py", "reidkit/systems/colours.py")
    written = [sum(bool(line.strip()) for line in belongs_in(file).splitlines()) for file in files]
    assert [numbers[word] for word in told.groups()] == written


def test_its_rows_are_known_by_their_lines_and_have_records(copy: Path) -> None:
    known = do(copy, "-m", "reidkit", "rows")
    rows = ["stripe/ce", "stripe/ce+tri", "stripe/ce+tri+cir", "none/ce+con", "stripe/ce+con", "colours"]
    assert [row for row in rows if f"  {row} " not in known and f"  {row}\n" not in known] == []
    records = [json.loads(path.read_text()) for path in (copy / "build" / "records").glob("*/record.json")]
    trained = {(r["system"], r["config"].get("attention"), r["config"].get("loss")) for r in records}
    assert trained >= {("joint-loss", "stripe", "ce"), ("joint-loss", "none", "ce+con"), ("colours", None, None)}


def test_the_tests_look_at_them(copy: Path) -> None:
    """The added loss is the last of its list."""
    tests = ("tests/models", "tests/systems", "tests/test_losses.py")
    chosen = "stripe or colours or none/ce+con or loss5 or table_begins or of_its_own"
    looked = do(copy, "-m", "pytest", "-n0", "-v", "-p", "no:cacheprovider", *tests, "-k", chosen)
    for part in ("[stripe", "[colours]", "loss5", "[none/ce+con]"):
        assert re.search(rf"{re.escape(part)}.* PASSED", looked), part


@pytest.mark.parametrize(
    ("chapter", "shown"),
    {"experiments": ["Stripes", "CE + Con"], "explorer": ["Stripes", "CE + Con", "Colours"]}.items(),
)
def test_the_pages_list_them(copy: Path, chapter: str, shown: list[str]) -> None:
    out = copy / f"{chapter}.ipynb"
    do(copy, "-m", "reidkit", "notebook", f"book/{chapter}.md", "mine", "--output", str(out))
    cells = nbformat.read(out, as_version=4).cells
    text = "\n".join(str(output.get("data", "")) for cell in cells for output in cell.get("outputs", []))
    assert [word for word in shown if word not in text] == []


def test_each_run_has_its_page(copy: Path) -> None:
    source = copy / "source"
    pages = do(copy, "-m", "reidkit", "pages", "mine", "--toc", "book/_toc.yml", "--source", str(source)).splitlines()
    titles = [line for page in pages for line in Path(page).read_text().splitlines() if line.startswith("# ")]
    for row in ("stripe/ce", "none/ce+con", "colours"):
        assert f"# {row} on SynthPed, market-like, seed 0" in titles
    listed = yaml.safe_load((source / "_toc.yml").read_text())
    assert str(listed).count("colours") == 1


def test_own_pictures_have_a_run_and_a_page_as_any_data(copy: Path) -> None:
    data = next((copy / "build" / "data").glob("*/synthped.json")).parent
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (copy / "pictures" / folder).mkdir(parents=True)
        for path in (data / folder).glob("[!-]*.jpg"):
            shutil.copy(path, copy / "pictures" / folder)
    assert "own" in do(copy, "-m", "reidkit", "data", "check", "own", "pictures")
    mine = yaml.safe_load((copy / "parameters" / "mine.yaml").read_text())
    mine = {key: value for key, value in mine.items() if not key.startswith("synthped_")}
    mine |= {
        "profile": "pictures",
        "dataset": "own",
        "data_root": "pictures",
        "systems": {"joint-loss": {"rows": ["none/ce"]}},
    }
    (copy / "parameters" / "pictures.yaml").write_text(yaml.safe_dump(mine))
    do(copy, "-m", "reidkit", "run", "pictures")
    pages = do(copy, "-m", "reidkit", "pages", "pictures", "--toc", "book/_toc.yml", "--source", str(copy / "own"))
    assert any("# none/ce on own pictures, seed 0" in Path(page).read_text() for page in pages.splitlines())
