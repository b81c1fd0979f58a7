"""Ceph's RADOS Gateway, a production S3, as a throw-away cluster with its objects in memory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import (
    Process,
    answers_http,
    clean_env,
    free_ports,
    missing_commands,
    scratch,
    wait_until,
)
from tests.servers.s3 import S3Server, accepts_objects, new_credentials

COMMANDS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
)

GUEST = "guest"  # owns nothing, and may do what a policy says

CONF = """\
[global]
fsid = {fsid}
mon initial members = a
mon host = v1:127.0.0.1:{mon_port}
# Without these two, each of the dozen pools that the gateway creates takes a second.
paxos propose interval = 0.02
paxos min wait = 0.01
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd heartbeat grace = 60
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
[osd]
# Else the OSD may send its first command before it has the monitor's map, and give up.
osd class update on start = false
osd crush update on start = false
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw thread pool size = 64
rgw crypt require ssl = false
rgw enable apis = s3, iam, admin
"""


def rgw_available() -> str | None:
    """Why the gateway cannot run here, or None."""
    return missing_commands(*COMMANDS)


@contextlib.contextmanager
def rgw() -> Iterator[S3Server]:
    """Run a one-node cluster of its own and lend its S3; about 2 s to the first PUT."""
    port, mon_port = free_ports(2)
    server = S3Server(
        "rgw", f"http://127.0.0.1:{port}", *new_credentials(), guest_keys=new_credentials()
    )
    with scratch("s3h-rgw") as folder:
        cluster = _Cluster(folder)
        try:
            cluster.configure(port=port, mon_port=mon_port)
            cluster.start_monitor(mon_port)
            cluster.start_storage()
            cluster.start_gateway(server)
            yield server
        finally:
            cluster.kill()


class _Cluster:
    """The steps of a start, each relying on the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "ceph.conf"
        self.keyring = folder / "keyring"
        self.fsid = str(uuid.uuid4())
        self.children: list[Process] = []

    def configure(self, *, port: int, mon_port: int) -> None:
        """Write the configuration and the keys."""
        for name in ("mon", "osd", "run", "log", "rgw"):
            (self.folder / name).mkdir()
        values = {"fsid": self.fsid, "folder": self.folder, "port": port, "mon_port": mon_port}
        self.conf.write_text(CONF.format(**values))
        caps = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        self._run("ceph-authtool", "-C", self.keyring, "--gen-key", "-n", "mon.", *caps[:3])
        self._run("ceph-authtool", self.keyring, "--gen-key", "-n", "client.admin", *caps)

    def start_monitor(self, mon_port: int) -> None:
        """Make the monitor's map and store, and start it."""
        monmap, address = self.folder / "monmap", f"v1:127.0.0.1:{mon_port}"
        self._run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", address, monmap)
        made_with = ("--monmap", monmap, "--keyring", self.keyring)
        self._run("ceph-mon", *self._as("a"), "--mkfs", *made_with)
        shutil.copy(self.keyring, self.folder / "mon" / "keyring")
        self._start("ceph-mon", *self._as("a"))
        wait_until(lambda: self._ask("mon", "stat"), what="ceph-mon answers")

    def start_storage(self) -> None:
        """Register the one OSD, give it its place in the map, and start it."""
        own = str(uuid.uuid4())
        # A monitor that has only just come up may still refuse; asking twice changes nothing.
        wait_until(lambda: self._ask("osd", "new", own), what="the OSD is registered")
        # An in-memory store invents an id of its own unless it finds this file.
        (self.folder / "osd" / "fsid").write_text(own + "\n")
        self._run("ceph-osd", *self._as("0"), "--mkfs", "--osd-uuid", own)
        place = ("osd.0", "1.0", "root=default", "host=localhost")
        wait_until(
            lambda: self._agrees("osd", "crush", "add", *place), what="the OSD has its place"
        )
        self._start("ceph-osd", *self._as("0"))
        wait_until(lambda: "1 up" in self._ask("osd", "stat"), what="ceph-osd is up")

    def start_gateway(self, server: S3Server) -> None:
        """Create the users and start the S3 face; the first one may give the other policies."""
        identity = ("-c", self.conf, "-n", "client.rgw")
        for name, user, caps in (("t", server, "user-policy=*"), (GUEST, server.guest, "")):
            who = (f"--uid={name}", f"--display-name={name}", *([f"--caps={caps}"] if caps else []))
            keys = (f"--access-key={user.access_key}", f"--secret-key={user.secret_key}")
            self._run("radosgw-admin", *identity, "user", "create", *who, *keys)
        gateway = self._start("radosgw", *identity)
        gateway.wait_ready(lambda: answers_http(server.url) and accepts_objects(server), seconds=60)

    def kill(self) -> None:
        """End it without ceremony (an orderly stop takes 6 s and saves nothing)."""
        for child in reversed(self.children):
            child.kill9()

    def _as(self, identity: str) -> tuple[str | Path, ...]:
        return ("-c", self.conf, "-i", identity)

    def _start(self, command: str, *words: str | Path) -> Process:
        child = Process([command, *words, "-f"], log=self.folder / "log" / f"{command}.out")
        self.children.append(child)
        return child

    def _run(self, *command: str | Path) -> None:
        step = self._call(*command, seconds=120)
        if step.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{step.stdout}\n{step.stderr}")

    def _ask(self, *words: str) -> str:
        asked = self._ceph(*words)
        return asked.stdout if asked.returncode == 0 else ""

    def _agrees(self, *words: str) -> bool:
        return self._ceph(*words).returncode == 0

    def _ceph(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._call("ceph", "-c", self.conf, "--connect-timeout", "3", *words, seconds=20)

    def _call(self, *command: str | Path, seconds: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=seconds, env=clean_env()
        )
