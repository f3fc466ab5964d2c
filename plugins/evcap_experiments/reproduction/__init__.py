"""A printed table trained anew: which runs it takes, how they are run, what came out beside the print."""
