"""What every layer is made of: modules, parameters, initial values, packing into flat buffers, groups."""
