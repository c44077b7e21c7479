"""One module per subject; each bar's function takes the ``Bench`` and returns rows of the table."""
