"""For our tests and for yours: a store in memory, a contract for stores, a fleet of servers.

store = MemoryStore()
app = create_app(handoff_store=store)       # S3Handoff(app, store=store)
store.fail_with(Unavailable(), verbs=["put"])
"""

from __future__ import annotations

from ..memory import MemoryStore
from .contract import Promise, check_store
from .disks import ForeignDisk
from .fleet import Fleet
from .tokens import token_of

__all__ = ["Fleet", "ForeignDisk", "MemoryStore", "Promise", "check_store", "token_of"]
