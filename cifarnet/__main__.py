"""``python -m cifarnet``."""

from cifarnet.cli.main import main

if __name__ == "__main__":
    main()
