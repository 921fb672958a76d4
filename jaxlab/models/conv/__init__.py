"""Convolutions, chosen by backend."""
