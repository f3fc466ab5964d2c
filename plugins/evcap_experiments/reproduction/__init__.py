"""A printed table trained here: its runs, and their scores next to the printed ones."""
