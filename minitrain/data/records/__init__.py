"""Records with named columns, read from files that may be larger than memory."""
