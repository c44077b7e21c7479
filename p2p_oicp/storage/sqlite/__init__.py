"""SQLite, the default engine: one file, WAL, one writer that commits in groups, readers beside it."""
