# From a parameter file to a book: data set → runs → executed chapters → pages.
#
#   snakemake --configfile parameters/synthped.yaml --cores all book
#
# The parameter file is validated whole before anything runs. Every rule reads the validated copy in build/.

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

if not workflow.configfiles:
    raise WorkflowError("name a parameter file: snakemake --configfile parameters/synthped.yaml --cores all book")

ROOT = Path(os.environ.get("REIDKIT_BUILD", "build")).expanduser()
ASKED = ROOT / "plans" / f"{Path(workflow.configfiles[0]).stem}.json"  # what the package says is to be made


def write_if_changed(file, text):
    """Only where it differs, so that the file's age tells when its content changed."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


# A job ends, seconds late at most, with the snakemake that started it, even where that is killed and tells it nothing.
# Its shell waits for what it runs, which gets a SIGTERM too and may have a checkpoint to leave.
shell.prefix(
    "set -euo pipefail\n"
    "(trap '' TERM\n"
    "while kill -0 $$ && ! [ $(ps -o ppid= -p $$) -ne $PPID ]; do sleep 1; done\n"
    "while kill -0 $$; do pkill -P $$; sleep 1; done) > /dev/null 2>&1 &\n"
    "trap : TERM\n"
    "trap 'kill -9 '$!' 2> /dev/null || true' EXIT\n"
)

if workflow.is_main_process:  # one at a time; unlike Snakemake's own lock, this one ends with a process that is killed
    ROOT.mkdir(parents=True, exist_ok=True)
    lock = FileLock(ROOT / ".lock", mode=0o664)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another make is at work in {ROOT}: waiting until it is done.", file=sys.stderr, flush=True)
        lock.acquire()
    asking = [sys.executable, "-m", "reidkit", "plan", str(workflow.configfiles[0]), "--json"]
    asking += ["--fresh"] if os.environ.get("FRESH") else []
    asking += [f"--set={key}={json.dumps(config[key])}" for key in workflow.config_settings.config]
    answer = subprocess.run(asking, stdout=subprocess.PIPE, text=True)
    if answer.returncode:
        sys.exit(answer.returncode)  # it has said why
    write_if_changed(ASKED, answer.stdout)

PLAN = json.loads(ASKED.read_text(encoding="utf-8"))
BUILD, RECORDS, PARAMETERS = (Path(PLAN[key]) for key in ("build", "records", "parameters"))
RUNS = PLAN["runs"]
MADE = [RECORDS / name / "record.json" for name, run in RUNS.items() if not run["published"]]
REPEATED = {name: ROOT / "repeated" / name / "record.json" for name, run in RUNS.items() if run["repeated"]}
CONFIG = BUILD / "_config.yml"
site = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))
if repository := os.environ.get("REPOSITORY"):  # where this book's source can be found: pages get launch buttons
    from reidkit.report.launch import github_address

    if address := github_address(repository):
        site["repository"] = {"url": address, "path_to_book": "book", "branch": os.environ.get("BRANCH") or "main"}
        site["launch_buttons"] = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
        site["sphinx"]["config"]["extensions"].append("reidkit.report.launch")
    elif workflow.is_main_process:
        print(f"REPOSITORY={repository}: not on GitHub, so that pages get no launch buttons", file=sys.stderr)
if PLAN["people"]:
    site["sphinx"]["config"]["people_shown"] = True
    site["html"]["announcement"] = (
        f"Built from {' and '.join(PLAN['people'])}: these pages may show real people. Keep them to yourself."
    )
write_if_changed(CONFIG, yaml.safe_dump(site, sort_keys=False))

TOC = yaml.safe_load(Path("book/_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
HEADERS = {page: Path(f"book/{page}.md").read_text(encoding="utf-8").split("\n---", 1)[0] for page in PAGES}
CHAPTERS = [page for page in PAGES if "kernelspec:" in HEADERS[page]]
PLAIN = [page for page in PAGES if page not in CHAPTERS]

onstart:
    from reidkit.report import warm

    warm.start()  # chapters import the same; on another machine of a cluster, where it is not found, each for itself


localrules:  # on a cluster: what takes seconds, or the network, stays on the machine that snakemake runs on
    book, zip, pdf, run_pages, plain_page, bibliography, scripts,

wildcard_constraints:
    run="[^/]+",


rule book:
    input:
        notebooks=expand(BUILD / "source" / "{page}.ipynb", page=CHAPTERS),
        plain=expand(BUILD / "source" / "{page}.md", page=PLAIN),
        bibliography=BUILD / "source" / "references.bib",
        toc=BUILD / "source" / "_toc.yml",
        mathjax=BUILD / "source" / "_scripts" / "tex-svg.js",
        assets=sorted(Path("book/_assets").rglob("*.*")),
        config=CONFIG,
    output:
        BUILD / "html" / "index.html",
    params:
        source=BUILD / "source",
        build=BUILD,
        toc=(BUILD / "source" / "_toc.yml").resolve(),
    log:
        BUILD / "book.log",
    shell:
        """
        rm -rf {params.build:q}/_build/html {params.source:q}/_assets && cp -r book/_assets {params.source:q}/_assets
        cp LICENSE {params.source:q}/_assets/LICENSE.txt && cp CITATION.cff {params.source:q}/_assets
        jupyter-book build {params.source:q} --path-output {params.build:q} --config {input.config:q} \
            --toc {params.toc:q} --all -W -n --keep-going > {log:q} 2>&1 || {{ tail -n 40 {log:q}; exit 1; }}
        rm -rf {params.build:q}/html && mv {params.build:q}/_build/html {params.build:q}/html
        """


def shown_to_others(_):
    """The book, which goes out as a file only where nobody real can be seen in it, or where it is said to be allowed."""
    if PLAN["people"] and os.environ.get("ALLOW_PEOPLE") != "1":
        raise WorkflowError(
            f"This book is built from {' and '.join(PLAN['people'])}, and its pages may show real people, who must not "
            "be passed on. Say ALLOW_PEOPLE=1 if the file stays with you."
        )
    return BUILD / "html" / "index.html"


rule zip:  # the site, the records that its numbers come from, and a checksum of every file
    input:
        shown_to_others,
    output:
        BUILD / f"reid-book-{BUILD.name}.zip",
    params:
        folder=BUILD / f"reid-book-{BUILD.name}",
        name=f"reid-book-{BUILD.name}",
        build=BUILD,
    shell:
        """
        rm -rf {params.folder:q} && mkdir -p {params.folder:q}/records
        cp -r {params.build:q}/html {params.folder:q}/site
        cp -r {params.build:q}/source/runs/*/ {params.folder:q}/records
        (cd {params.folder:q} && find . -type f | LC_ALL=C sort | xargs -d "\n" sha256sum > ../SHA256SUMS && mv ../SHA256SUMS .)
        (cd {params.build:q} && python -m zipfile -c {params.name}.zip {params.name}) && rm -rf {params.folder:q}
        """


rule pdf:  # the whole book but for the pages of runs, on one page and printed by a browser
    input:
        index=shown_to_others,
        config=CONFIG,
    output:
        BUILD / f"reid-book-{BUILD.name}.pdf",
    params:
        source=BUILD / "source",
        print=BUILD / "print",
        toc=Path("book/_toc.yml").resolve(),
        page=BUILD / "print" / "_build" / "singlehtml" / "index.html",
        uri=(BUILD / "print" / "_build" / "singlehtml" / "index.html").resolve().as_uri(),
    log:
        BUILD / "logs" / "pdf.log",
    shell:
        """
        chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) \
            || {{ echo "make pdf prints with Chromium, which was not found: apt-get install chromium"; exit 1; }}
        jupyter-book build {params.source:q} --path-output {params.print:q} --config {input.config:q} \
            --toc {params.toc:q} --builder singlehtml --all > {log:q} 2>&1 || {{ tail -n 20 {log:q}; exit 1; }}
        print_book() {{
            "$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline \
                --run-all-compositor-stages-before-draw --virtual-time-budget=300000 \
                --print-to-pdf={output:q} {params.uri:q} >> {log:q} 2>&1 || {{ tail -n 20 {log:q}; exit 1; }}
        }}
        print_book  # twice, because only the printed book knows on which page a chapter begins
        python -m reidkit.report.printing contents {output:q} {params.page:q}
        print_book
        python -m reidkit.report.printing bookmarks {output:q}
        """


def rendered(run):
    """What a run needs on the disk of a rendered data set; a real one is the reader's affair."""
    if run["data"] is None:
        return []
    return [ancient(ROOT / "data" / run["data"] / "synthped.json")]  # its age says nothing: run names hold the renderer


rule data_set:
    input:
        sorted(Path("reidkit/data/synthped").glob("*.py")),
    output:
        # Not taken away before the start, or a render that is cut short would leave a folder that nobody may replace.
        update(ROOT / "data" / "{folder}" / "synthped.json"),
    params:
        owner=lambda wildcards: PLAN["data"][wildcards.folder],
    priority: 3  # the longest of all, a run that is repeated, waits for it
    shell:
        "reidkit data render {params.owner:q} && touch {output:q}"


rule run:
    input:
        data=lambda wildcards: rendered(RUNS[wildcards.run]),
        heatmaps=lambda wildcards: heatmaps_of(RUNS[wildcards.run]),
    output:
        RECORDS / "{run}" / "record.json",
    params:
        owner=lambda wildcards: RUNS[wildcards.run]["owner"],
        row=lambda wildcards: RUNS[wildcards.run]["row"],
        seed=lambda wildcards: RUNS[wildcards.run]["seed"],
        options="--fresh" if PLAN["fresh"] else "",
    threads: 1  # on a CPU, runs side by side waste less than one on all cores
    resources:
        gpu=PLAN["gpu"],  # `make book GPUS=N` runs N at a time
    shell:
        "OMP_NUM_THREADS={threads} reidkit run {params.owner:q} --row {params.row} --seed {params.seed} {params.options}"


use rule run as repeat with:  # what is published, beside it; begun first, because chapters and a page wait for it
    output:
        ROOT / "repeated" / "{run}" / "record.json",
    params:
        owner=lambda wildcards: RUNS[wildcards.run]["owner"],
        row=lambda wildcards: RUNS[wildcards.run]["row"],
        seed=lambda wildcards: RUNS[wildcards.run]["seed"],
        options=lambda wildcards: shlex.join(
            ["--fresh", "--records", str(ROOT / "repeated"), f"--set=epochs={RUNS[wildcards.run]['epochs']}"]
        ),
    priority: 2


def heatmaps_of(run):
    """The stored heat maps that a run reads."""
    return [] if run["guide"] is None else [ROOT / "heatmaps" / run["guide"] / "done"]


def trained(name):
    """The record of a run whose weights are made here; none of one that is published only."""
    if name in REPEATED:
        return [REPEATED[name]]
    return [] if name not in RUNS or RUNS[name]["published"] else [RECORDS / name / "record.json"]


rule heatmaps:
    input:
        lambda wildcards: trained(wildcards.run),
    output:
        touch(ROOT / "heatmaps" / "{run}" / "done"),  # beside the maps: Snakemake removes the outputs of what it stops
    params:
        owner=lambda wildcards: PLAN["heatmaps"][wildcards.run],
    threads: 1
    resources:
        gpu=PLAN["gpu"],
    shell:
        "OMP_NUM_THREADS={threads} reidkit heatmaps {params.owner:q}"


rule notebook:
    input:
        chapter="book/{page}.md",
        parameters=PARAMETERS,
        records=MADE,
        heatmaps=sorted({done for run in RUNS.values() for done in heatmaps_of(run) if trained(run["guide"])}),
        repeated=lambda wildcards: REPEATED.values() if wildcards.page == "runs" else [],  # which tells of them
        published=sorted(Path("book/records").glob("*/record.json")),
        package=sorted(path for path in Path("reidkit").rglob("*") if path.suffix in {".py", ".html", ".css", ".svg", ".js"}),
    output:
        BUILD / "source" / "{page}.ipynb",
    log:
        BUILD / "logs" / "{page}.log",
    shell:
        "OMP_NUM_THREADS=1 python -m reidkit.report.warm execute {input.chapter:q} {input.parameters:q} {output:q} > {log:q} 2>&1"
        " || {{ tail -n 30 {log:q}; exit 1; }}"


use rule notebook as longest_notebook with:  # begun first, so that no core waits for it at the end
    output:
        BUILD / "source" / "{page}.ipynb",
    wildcard_constraints:
        page="explorer",
    priority: 1


ruleorder: longest_notebook > notebook


rule run_pages:
    input:
        toc="book/_toc.yml",
        parameters=PARAMETERS,
        records=MADE,
        published=sorted(Path("book/records").glob("*/record.json")),
        package=sorted(path for path in Path("reidkit").rglob("*") if path.suffix in {".py", ".html", ".css", ".svg", ".js"}),
    output:
        toc=BUILD / "source" / "_toc.yml",
        pages=directory(BUILD / "source" / "runs"),
    params:
        source=BUILD / "source",
    shell:
        "reidkit pages {input.parameters:q} --toc {input.toc:q} --source {params.source:q} > /dev/null"


rule plain_page:
    input:
        "book/{page}.md",
    output:
        BUILD / "source" / "{page}.md",
    wildcard_constraints:
        page="|".join(PLAIN) or "$^",
    shell:
        "cp {input:q} {output:q}"


rule bibliography:
    input:
        "book/references.bib",
    output:
        BUILD / "source" / "references.bib",
    shell:
        "cp {input:q} {output:q}"


rule scripts:  # other people's scripts are locked dependencies, never sources
    input:
        "book/package.json",
        "book/package-lock.json",
    output:
        BUILD / "source" / "_scripts" / "tex-svg.js",
        BUILD / "source" / "_scripts" / "widgets" / "embed.js",
    params:
        folder=BUILD / "scripts",
        scripts=BUILD / "source" / "_scripts",
    log:
        BUILD / "logs" / "npm.log",
    shell:
        """
        mkdir -p {params.folder:q} && cp {input:q} {params.folder:q}
        npm ci --prefix {params.folder:q} --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund > {log:q} 2>&1 \
            || {{ tail -n 20 {log:q}; exit 1; }}
        modules={params.folder:q}/node_modules
        cp "$modules"/mathjax/es5/tex-svg.js {params.scripts:q}
        cp "$modules"/mathjax/LICENSE {params.scripts:q}/MathJax-LICENSE.txt
        cp "$modules"/@jupyter-widgets/html-manager/dist/{{embed.js,*.woff2}} {params.scripts:q}/widgets
        find "$modules" -type f -iregex ".*/license[a-z0-9-]*\\(\\.md\\|\\.txt\\)?" -not -path "*/axe-core/*" | LC_ALL=C sort \
            | xargs -d "\n" tail -vn +1 > {params.scripts:q}/widgets/LICENSES.txt
        """
