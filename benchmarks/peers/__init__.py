"""Other servers for the same work, to measure SegStream against."""
