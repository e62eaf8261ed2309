"""What gradient penalties are made of: squared norms of samples, and samples between samples."""
