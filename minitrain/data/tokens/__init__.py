"""Token ids: arrays, memory-mapped files, shards, and the loaders that cut windows from them."""
