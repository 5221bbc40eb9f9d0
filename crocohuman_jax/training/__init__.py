"""The training loop and its parts: optimizer, sharding, checkpoints, validation, throughput.

Nothing here depends on a particular task: losses and metrics belong to `tasks`.
"""
