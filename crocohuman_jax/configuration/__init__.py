"""Parts that every command needs: its flags, config options, finding modules, safe file names.

Nothing here depends on networks, data or tasks.
"""
