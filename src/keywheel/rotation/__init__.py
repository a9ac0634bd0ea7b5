"""The engine: a rotation is a row, its steps are a table, and a crash anywhere means: do that step again."""
