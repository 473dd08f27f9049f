"""``minitrain train --multirun``: what is typed becomes a sweep of `minitrain.runs.sweep`."""
