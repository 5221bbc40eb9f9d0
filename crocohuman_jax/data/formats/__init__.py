"""What datasets share: the pictures and people they yield, and formats of annotation files."""
