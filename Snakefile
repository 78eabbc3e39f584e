# From a parameter file to a book: data set → runs → executed chapters → pages.
#
#   snakemake --configfile parameters/synthped.yaml --cores all book
#
# The parameter file is validated whole before anything runs. Every rule reads the validated copy in build/.

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

if not workflow.configfiles:
    raise WorkflowError("name a parameter file: snakemake --configfile parameters/synthped.yaml --cores all book")

ROOT = Path(os.environ.get("REIDKIT_BUILD", "build"))
ASKED = ROOT / "plans" / f"{Path(workflow.configfiles[0]).stem}.json"  # what the package says is to be made


def write_if_changed(file, text):
    """Only where it differs, so that the file's age tells when its content changed."""
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if workflow.is_main_process:  # one at a time; unlike Snakemake's own lock, this one ends with a process that is killed
    ROOT.mkdir(parents=True, exist_ok=True)
    lock = FileLock(ROOT / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another make is at work in {ROOT}: waiting until it is done.", file=sys.stderr, flush=True)
        lock.acquire()
    asking = [sys.executable, "-m", "reidkit", "plan", str(workflow.configfiles[0]), "--json"]
    asking += [f"--set={key}={json.dumps(config[key])}" for key in workflow.config_settings.config]
    answer = subprocess.run(asking, stdout=subprocess.PIPE, text=True)
    if answer.returncode:
        sys.exit(answer.returncode)  # it has said why
    write_if_changed(ASKED, answer.stdout)

PLAN = json.loads(ASKED.read_text())
BUILD, RECORDS, PARAMETERS = (Path(PLAN[key]) for key in ("build", "records", "parameters"))
RUNS = PLAN["runs"]
MADE = [RECORDS / name / "record.json" for name, run in RUNS.items() if not run["published"]]
CONFIG = BUILD / "_config.yml"
site = yaml.safe_load(Path("_config.yml").read_text())
if repository := os.environ.get("REPOSITORY"):  # where this book's source can be found: pages get launch buttons
    site["repository"] = {"url": repository, "path_to_book": "book", "branch": os.environ.get("BRANCH") or "main"}
    site["launch_buttons"] = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    site["sphinx"]["config"]["extensions"].append("reidkit.report.launch")
write_if_changed(CONFIG, yaml.safe_dump(site, sort_keys=False))

TOC = yaml.safe_load(Path("book/_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHAPTERS = [page for page in PAGES if "kernelspec:" in Path(f"book/{page}.md").read_text().split("\n---", 1)[0]]
PLAIN = [page for page in PAGES if page not in CHAPTERS]

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
        rm -rf {params.build}/_build/html {params.source}/_assets && cp -r book/_assets {params.source}/_assets
        jupyter-book build {params.source} --path-output {params.build} --config {input.config} --toc {params.toc} \
            --all -W -n --keep-going > {log} 2>&1 || {{ tail -n 40 {log}; exit 1; }}
        rm -rf {params.build}/html && mv {params.build}/_build/html {params.build}/html
        """


rule zip:  # the site, the records that its numbers come from, and a checksum of every file
    input:
        BUILD / "html" / "index.html",
    output:
        BUILD / f"reid-book-{BUILD.name}.zip",
    params:
        folder=BUILD / f"reid-book-{BUILD.name}",
        build=BUILD,
    shell:
        """
        rm -rf {params.folder} && mkdir -p {params.folder}/records
        cp -r {params.build}/html {params.folder}/site
        cp -r {params.build}/source/runs/*/ {params.folder}/records
        (cd {params.folder} && find . -type f | LC_ALL=C sort | xargs -d "\n" sha256sum > ../SHA256SUMS && mv ../SHA256SUMS .)
        (cd {params.build} && python -m zipfile -c $(basename {output}) $(basename {params.folder})) && rm -rf {params.folder}
        """


rule pdf:  # the whole book on one page, printed by a browser
    input:
        index=BUILD / "html" / "index.html",
        config=CONFIG,
    output:
        BUILD / f"reid-book-{BUILD.name}.pdf",
    params:
        source=BUILD / "source",
        print=BUILD / "print",
        toc=(BUILD / "source" / "_toc.yml").resolve(),
        page=(BUILD / "print" / "_build" / "singlehtml" / "index.html").resolve(),
    log:
        BUILD / "logs" / "pdf.log",
    shell:
        """
        chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) \
            || {{ echo "make pdf prints with Chromium, which was not found: apt-get install chromium"; exit 1; }}
        jupyter-book build {params.source} --path-output {params.print} --config {input.config} --toc {params.toc} \
            --builder singlehtml --all > {log} 2>&1 || {{ tail -n 20 {log}; exit 1; }}
        "$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline \
            --run-all-compositor-stages-before-draw --virtual-time-budget=300000 \
            --print-to-pdf={output} file://{params.page} >> {log} 2>&1 || {{ tail -n 20 {log}; exit 1; }}
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
    shell:
        "reidkit data render {params.owner} && touch {output}"


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
    threads: 1  # on a CPU, runs side by side waste less than one on all cores
    resources:
        gpu=PLAN["gpu"],  # `make book GPUS=N` runs N at a time
    shell:
        "OMP_NUM_THREADS=1 reidkit run {params.owner} --row {params.row} --seed {params.seed}"


def heatmaps_of(run):
    """The stored heat maps that a run reads."""
    return [] if run["guide"] is None else [ROOT / "heatmaps" / run["guide"] / "done"]


rule heatmaps:
    input:
        lambda wildcards: [] if RUNS[wildcards.run]["published"] else [RECORDS / wildcards.run / "record.json"],
    output:
        touch(ROOT / "heatmaps" / "{run}" / "done"),  # beside the maps: Snakemake removes the outputs of what it stops
    params:
        owner=lambda wildcards: PLAN["heatmaps"][wildcards.run],
    threads: 1
    resources:
        gpu=PLAN["gpu"],
    shell:
        "OMP_NUM_THREADS=1 reidkit heatmaps {params.owner}"


rule notebook:
    input:
        chapter="book/{page}.md",
        parameters=PARAMETERS,
        records=MADE,
        heatmaps=[done for run in RUNS.values() if not run["published"] for done in heatmaps_of(run)],
        published=sorted(Path("book/records").glob("*/record.json")),
        package=sorted(path for path in Path("reidkit").rglob("*") if path.suffix in {".py", ".html", ".css", ".svg"}),
    output:
        BUILD / "source" / "{page}.ipynb",
    log:
        BUILD / "logs" / "{page}.log",
    shell:
        "OMP_NUM_THREADS=1 python -m reidkit.report.execute {input.chapter} {input.parameters} {output} > {log} 2>&1"
        " || {{ tail -n 30 {log}; exit 1; }}"


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
        package=sorted(path for path in Path("reidkit").rglob("*") if path.suffix in {".py", ".html", ".css", ".svg"}),
    output:
        toc=BUILD / "source" / "_toc.yml",
        pages=directory(BUILD / "source" / "runs"),
    shell:
        "reidkit pages {input.parameters} --toc {input.toc} --source {BUILD}/source > /dev/null"


rule plain_page:
    input:
        "book/{page}.md",
    output:
        BUILD / "source" / "{page}.md",
    wildcard_constraints:
        page="|".join(PLAIN) or "$^",
    shell:
        "cp {input} {output}"


rule bibliography:
    input:
        "book/references.bib",
    output:
        BUILD / "source" / "references.bib",
    shell:
        "cp {input} {output}"


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
        mkdir -p {params.folder} && cp {input} {params.folder}
        npm ci --prefix {params.folder} --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund > {log} 2>&1 \
            || {{ tail -n 20 {log}; exit 1; }}
        modules={params.folder}/node_modules
        cp $modules/mathjax/es5/tex-svg.js {params.scripts}
        cp $modules/mathjax/LICENSE {params.scripts}/MathJax-LICENSE.txt
        cp $modules/@jupyter-widgets/html-manager/dist/{{embed.js,*.woff2}} {params.scripts}/widgets
        find $modules -type f -iregex ".*/license[a-z0-9-]*\\(\\.md\\|\\.txt\\)?" -not -path "*/axe-core/*" | LC_ALL=C sort \
            | xargs tail -vn +1 > {params.scripts}/widgets/LICENSES.txt
        """
