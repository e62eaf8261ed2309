"""What each verb of the command line can be told. Nothing here imports torch: help is shown at once."""
