"""Tables of any text form, Parquet, data frames and job files."""
