"""Endless batches for training and padded ones for evaluation, whose position can be saved."""
