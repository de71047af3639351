"""The executor on Ray Tune: worker processes on the machines of a Ray cluster.

Ray runs in a process of its own, the driver, which knows neither the study nor the store. A Tune trial is one worker
(`slot.py`): an actor of Ray that keeps a training process, and each of its results is a group of runs. Trials and
actors are so as many as runs at a time. With a trial for each run, Tune's reuse of actors trained all runs in one
process, because a trial that waits for its actor to start takes the first one that is free.

Groups and messages pass through an actor beside the driver (`queues.py`), so no file of Ray names a store.
"""
