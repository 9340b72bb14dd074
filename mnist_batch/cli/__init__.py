"""The command line: commands, options, and what a person or a scheduler sees."""
