"""Records, formats, the report; files that appear whole or not at all."""
