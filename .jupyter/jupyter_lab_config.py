"""`make lab`: JupyterLab with the chapters, which are text, opening as notebooks."""

c = get_config()  # noqa: F821
c.ServerApp.contents_manager_class = "jupytext.TextFileContentsManager"
