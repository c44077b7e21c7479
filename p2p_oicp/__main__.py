"""``python -m p2p_oicp`` is the ``p2p-oicp`` command."""

from p2p_oicp.cli import main

if __name__ == "__main__":
    main()
