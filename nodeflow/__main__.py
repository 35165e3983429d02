"""`python -m nodeflow` is the command `nodeflow`."""

from nodeflow.cli import main

if __name__ == "__main__":
    main()
