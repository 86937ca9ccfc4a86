"""Programs in other frameworks: each file here is one, and is copied into an export."""
