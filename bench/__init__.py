"""Measures a node against the bars of docs/performance.md; ``scripts/bench`` runs it.

The story: every measurement is paired. A raw aiohttp echo (REF, ``reference``) and the nodes run as processes of their
own; one load after the other is put on each of them from another process (``load``), in turns, and what counts is the
median of the ratios of the turns, so that a busy or slow machine changes all of them alike. ``bars`` holds one module
per subject; each returns rows of the table (``table``).
"""
