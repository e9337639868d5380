"""xnatctl: get imaging data into XNAT, and prove that it arrived.

Import from `xnatctl.api` when you write a plugin; from `xnatctl.testing` when you test one.
"""

from __future__ import annotations

__version__ = "0.1.0"
