"""The commands of ``evcap``, one file each, thin: parse, call the library, print."""
