"""Benchmark of a node against the bars of docs/performance.md; ``scripts/bench`` runs it.

Overview
    A *bar* is a limit that a figure has to meet. ``bars`` holds one module per subject; each returns rows of the
    table (``table``). ``nodes`` writes the files of nodes and starts them as processes of their own (``processes``),
    ``load`` sends requests (``messages``, ``evses``) from another process: wrk, or our ``generator``.

Pairing
    A raw aiohttp echo (REF, ``reference``) and the nodes are loaded in turns, and a figure is the median of the ratios
    of the turns. A busy or slow machine changes all of them alike, so ratios of one run can be trusted where seconds
    of two machines cannot.

Two commits
    ``compare`` runs the benchmark of another commit and this one's in turns, and prints each figure as a ratio.

Checks
    What was answered is looked up in the databases afterwards: a node that is fast because it stores nothing fails.
"""
