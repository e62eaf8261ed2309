"""Training: one loop over players, its complete state, and runs on disk."""
