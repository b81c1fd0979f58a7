"""``make demo``: the example on three servers that share nothing but S3, all on this machine.

Nothing here is part of the tutorial: it stands in for the machines, the load balancer and the
bucket that a real deployment has.
"""

from __future__ import annotations
