"""Sweeps: many runs that differ in a few settings, done one by one, side by side or on a cluster.

`plan` makes the jobs and checks them, `store` keeps them in the sweep's folder, `run` does them with one of the
`launchers`, and `search` lets Optuna choose the values. How a job's settings are composed is handed in.
"""
