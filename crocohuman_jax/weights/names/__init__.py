"""Maps the parameter names of other projects to the names of this project."""
