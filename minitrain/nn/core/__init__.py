"""The parts of every layer: modules, parameters, initial values, packing into flat buffers, groups."""
