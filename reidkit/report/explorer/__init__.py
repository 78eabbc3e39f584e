"""The ablation explorer: widgets that show any run of a profile, made from its records before the page is opened.

Dropdowns are linked to nested `Stack`s in the browser (`jsdlink`), so that they need no kernel; what they choose from
is HTML with inline pictures. `live` has what does need a kernel: training a run that is missing, and ranking the
gallery for a picture of the reader's own.
"""
