"""Networks that segment volumes: one file per family, each asked for classes by their names."""
