"""Observe mode, on apps that know nothing of it."""
