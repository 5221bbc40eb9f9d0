"""Names of parameters in other projects' files and in ours."""
