"""Low-rank experts on the convolutions of a network, one per task, at nearly the price of none."""
