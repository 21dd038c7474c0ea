"""Long versions of what the suite tries in small: scripts, run by hand."""
