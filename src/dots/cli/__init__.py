"""The command line: thin; every command parses, calls the library and prints."""
