"""SLURM on one node, on the loopback interface alone, for as long as a block runs."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "setpriv")
#: Programs that are not installed.
MISSING = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
KillWait=5
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """Cluster of one node.

    Args:
        folder: Folder of its daemons.
        environment: Variables with which programs use it.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str | Path, folder: Path, check: bool = True, **variables: str) -> str:
        """Run a program in a folder, and return its output; raise if it fails."""
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
        )
        assert not (check and done.returncode), done.stdout
        return done.stdout

    def submit(self, *words: str | Path, folder: Path) -> str:
        """Submit a job, and return its number."""
        return self.run("sbatch", "--parsable", *words, folder=folder).strip()

    def queue(self, form: str = "%i") -> list[str]:
        """Return a line for each job, or element of an array, that has not ended."""
        words = ("squeue", "--array", "--noheader", "--format", form)
        return self.run(*words, folder=self.folder).split()

    def wait(self) -> None:
        """Wait until all jobs have ended."""
        wait_for(lambda: not self.queue(), 300)

    def processes(self) -> dict[int, str]:
        """Return the command lines of daemons and jobs, and of programs that use them, by id."""
        found, mark = {}, f"SLURM_CONF={self.folder}/".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes():
                    line = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(path.name)] = line.decode(errors="replace")
            except OSError:  # it has ended
                continue
        return found

    def listening(self) -> set[str]:
        """Return the addresses, in hexadecimal, on which any of these processes listens."""
        numbers: set[str] = set()
        for process in self.processes():
            try:
                links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
            except OSError:
                continue
            numbers |= {link[8:-1] for link in links if link.startswith("socket:[")}
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and words[9] in numbers:  # LISTEN, inode; see proc(5)
                    found.add(words[1].partition(":")[0])
        return found


#: 127.0.0.1, as /proc/net/tcp has it.
LOOPBACK = "0100007F"


@contextmanager
def one_node() -> Iterator[Slurm]:
    """Start SLURM, and end it with all jobs when the block ends, or the process does."""
    # short, as the paths of sockets must be
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    slurm = Slurm(
        folder,
        {
            **os.environ,
            "PATH": _PATH,
            "SLURM_CONF": f"{folder}/slurm.conf",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
            "OMP_NUM_THREADS": "1",
        },
    )
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        daemons: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, slurm, daemons)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        controller, node = _free_ports()
        text = _CONFIGURATION.format(
            folder=folder, controller=controller, node=node, user=getpass.getuser(),
            host=socket.gethostname().partition(".")[0],
        )  # fmt: skip
        (folder / "slurm.conf").write_text(text)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        words = ("munged", "--foreground", "--force", f"--socket={folder}/munge.sock", *files)
        daemons.append(_start(slurm, *words))
        wait_for((folder / "munge.sock").exists, 20)
        daemons.append(_start(slurm, "slurmctld", "-D", "-i"))
        daemons.append(_start(slurm, "slurmd", "-D", "-N", "localhost"))
        words = ("sinfo", "--noheader", "--format", "%T")
        wait_for(lambda: slurm.run(*words, folder=folder, check=False).strip() == "idle", 60)
        yield slurm


def _start(slurm: Slurm, *words: str) -> subprocess.Popen[bytes]:
    with (slurm.folder / f"{words[0]}.txt").open("wb") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words],  # even if this process is killed
            env=slurm.environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _end(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    """End jobs, then everything else."""
    with suppress(AssertionError, OSError, TimeoutError):  # where it did not start
        slurm.run("scancel", "--user", getpass.getuser(), folder=slurm.folder, check=False)
        wait_for(lambda: not slurm.queue(), 20)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in slurm.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)
        with suppress(TimeoutError):
            wait_for(lambda: not slurm.processes(), 10)
            break
    for daemon in daemons:
        daemon.wait(10)


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """Return the value of a condition once it is true; raise if it is not in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s")
        time.sleep(0.1)
    return found
