"""`make lab`: JupyterLab with the chapters, which are text, opening as notebooks; the first page comes first."""

import os

c = get_config()  # noqa: F821
c.ServerApp.contents_manager_class = "reidkit.report.lab.ChapterManager"
c.LabApp.default_url = "/lab/tree/index.md"
c.ServerApp.port = int(os.environ.get("PORT", "8888"))
c.ServerApp.allow_root = True  # as in a container, where there is nobody else
