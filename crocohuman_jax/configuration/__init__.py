"""What every command starts with: options, registered modules, the command line, names of files.

Nothing here knows networks, data or tasks.
"""
