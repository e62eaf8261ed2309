"""What a user can set, checked field by field; nothing here imports torch, so that help and slips are told at once."""
