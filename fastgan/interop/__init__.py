"""Other projects' forms: published operator signatures, and networks exported to other formats."""
