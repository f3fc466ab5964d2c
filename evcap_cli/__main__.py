"""``python -m evcap_cli``: the command line without its script, for ``accelerate launch -m evcap_cli train``."""

from evcap_cli.app import main

if __name__ == "__main__":
    main()
