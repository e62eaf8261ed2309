"""Networks and operators beyond this package: export, and the names of others."""
