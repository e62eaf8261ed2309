"""Pictures from trained generators."""
