"""The paper's model, a file a section, in its order. Knows nothing of files."""
