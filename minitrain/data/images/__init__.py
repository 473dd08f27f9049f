"""Images: readers of folders, archives and arrays, decoding of files from anywhere, and transforms."""
