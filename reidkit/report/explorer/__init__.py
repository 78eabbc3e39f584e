"""The ablation explorer: any two runs on the same data side by side, made from their records before the page is opened.

`contents` gathers what there is to show as plain data, `page` puts it into one piece of HTML with the script that draws
it (`templates/explorer.js`), so that it needs neither a kernel nor a network. `live` has what does need a kernel:
training a run that is missing, and ranking the gallery for a picture of the reader's own.
"""
