"""The history in DuckDB: a view of the journal that can be thrown away and built again."""
