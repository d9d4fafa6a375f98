"""The pages and tables of a comparison of many runs."""
