"""Names and call signatures of the reference documents that differ from minitrain's own."""
