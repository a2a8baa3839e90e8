"""`python -m deskwire`."""

from deskwire.cli import main

raise SystemExit(main())
