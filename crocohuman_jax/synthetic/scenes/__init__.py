"""Where people are: rooms, outdoors, and scenes and pictures that users bring."""
