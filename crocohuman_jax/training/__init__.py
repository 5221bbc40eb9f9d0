"""The one loop, and what it needs: optimizer, sharding, checkpoints, validation, throughput.

Nothing here knows what is learned: that is a task's.
"""
