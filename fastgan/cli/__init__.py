"""The command line: `fastgan VERB`, one file a verb."""
