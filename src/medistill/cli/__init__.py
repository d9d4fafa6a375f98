"""One file per verb, thin over `runs`."""
