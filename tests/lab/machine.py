"""The lab's machine: QEMU with LXD, Incus and ZFS in it, reached by ssh over the loopback."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from three_backup import command
from three_backup.demo.daemon import LOOPBACK, Account, Daemon, free_ports

DISKS = {"root": "", "tank": "4G", "second": "2G"}
"""The size of each disk that begins empty."""

# Emulated cmpxchg16b returns garbage in QEMU 7.2, which shows as memory corruption in the guest.
_PROCESSOR = "Nehalem,-cx16"
_KERNEL_LINE = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 apparmor=0 audit=0 mitigations=off quiet"
)
_SAVED = "ready"
# What was freed is saved as well, unless it is zero.
_ZERO_FREE_MEMORY = """\
sync; zpool sync; echo 3 > /proc/sys/vm/drop_caches
free=$(awk '/^MemFree:/ { print int($2 / 1024) - 64 }' /proc/meminfo)
mount -t tmpfs -o "size=${free}m" zeros /mnt
head -c "${free}M" /dev/zero > /mnt/zeros
umount /mnt
"""
_ENDS_WITH_US: tuple[str | Path, ...] = ("setpriv", "--pdeathsig", "KILL", "--")
"""Has the kernel kill a program when this process ends, however it ends."""

_BOOT_SECONDS = 900
_SSH_CONFIG = """\
Host lab
  HostName {address}
  Port {port}
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 20
  Compression no
  Ciphers aes128-ctr
  MACs umac-64@openssh.com
  ControlPath {control}
"""


def accelerator() -> str:
    """Return kvm if the processor supports it, else tcg, which is emulation.

    Without that support /dev/kvm may exist, and still boot no stock kernel.
    """
    flags = set(Path("/proc/cpuinfo").read_text().split())
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "kvm" if usable and flags & {"vmx", "svm"} else "tcg"


class Machine:
    """One machine on the disks in a folder with a short path, ended when its context is left.

    image: the folder with its kernel, its ssh key and the disks that it was saved with.
    """

    def __init__(self, folder: Path, image: Path) -> None:
        self.ssh_config = folder / "ssh_config"
        self._folder = folder
        self._image = image
        self._port = free_ports(1)[0]
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self._monitor = folder / "monitor"
        self._control = folder / "control"
        self._qemu = Daemon("QEMU", folder, Account())
        self._master = Daemon("ssh", folder, Account())

    def boot(self) -> None:
        """Start it for the first time, from the root disk in the folder."""
        for name, size in DISKS.items():
            if size:
                _run("qemu-img", "create", "-q", "-f", "qcow2", self._disk(name), size)
        self._start()

    def save(self) -> None:
        """Save the state of the running machine in its disks, for `resume`, and end it."""
        self.ssh(_ZERO_FREE_MEMORY)
        self._ask_monitor(f"savevm {_SAVED}")
        self._end()

    def resume(self) -> None:
        """Continue from the state that was saved, on copies of the image's disks."""
        for name in DISKS:
            _run("cp", "--sparse=always", self._image / f"{name}.qcow2", self._disk(name))
        self._start("-loadvm", _SAVED)

    def rewind(self) -> None:
        """Return to the state that was saved."""
        self._disconnect()
        self._ask_monitor(f"loadvm {_SAVED}")
        self._connect()

    def ssh(self, line: str, given: str | bytes | None = None) -> str:
        """Return what a shell line prints in there. Raises BackupError with its stderr."""
        return command.run(self._shell(line), given)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._end()

    def _start(self, *options: str) -> None:
        config = _SSH_CONFIG.format(
            address=LOOPBACK, port=self._port, key=self._image / "key", control=self._control
        )
        self.ssh_config.write_text(config)
        argv = (*_ENDS_WITH_US, *self._qemu_argv(), *options)
        self._qemu.start(argv, self._environ, self._answers, _BOOT_SECONDS)
        self._connect()

    def _connect(self) -> None:
        """Open the connection that all others share: emulation makes handshakes slow."""
        master = (*_ENDS_WITH_US, "ssh", "-F", self.ssh_config, "-M", "-N", "lab")
        self._master.start(master, self._environ, self._control.exists, _BOOT_SECONDS)
        self.ssh(f"date --set @{time.time():.3f}")

    def _disconnect(self) -> None:
        """End the shared connection by SIGKILL: ssh may miss a SIGTERM."""
        self._master.end(signal.SIGKILL)
        self._control.unlink(missing_ok=True)

    def _qemu_argv(self) -> list[str | Path]:
        argv: list[str | Path] = ["qemu-system-x86_64", "-machine", f"q35,accel={accelerator()}"]
        argv += ["-cpu", _PROCESSOR, "-smp", "2", "-m", "1024", "-no-reboot"]
        argv += ["-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"]
        argv += ["-qmp", f"unix:{self._monitor},server,nowait"]
        argv += ["-kernel", self._image / "vmlinuz", "-initrd", self._image / "initrd.img"]
        argv += ["-append", _KERNEL_LINE]
        for name in DISKS:
            drive = f"file={self._disk(name)},if=none,id={name},cache=unsafe,discard=unmap"
            argv += ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        forward = f"hostfwd=tcp:{LOOPBACK}:{self._port}-:22"
        argv += ["-netdev", f"user,id=net,restrict=on,{forward}"]
        return [*argv, "-device", "virtio-net-pci,netdev=net,romfile="]

    def _answers(self) -> bool:
        argv = self._shell("true").argv
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    def _shell(self, line: str) -> command.Program:
        return command.Program(["ssh", "-F", str(self.ssh_config), "lab", line], code="lab.ssh")

    def _ask_monitor(self, line: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._monitor))
            with connection.makefile("rw") as qmp:
                json.loads(qmp.readline())  # its greeting
                _execute(qmp, "qmp_capabilities")
                said = _execute(qmp, "human-monitor-command", {"command-line": line})
        assert said == "", said

    def _disk(self, name: str) -> Path:
        return self._folder / f"{name}.qcow2"

    def _end(self) -> None:
        self._disconnect()
        self._qemu.end(signal.SIGTERM)


def _execute(qmp: Any, name: str, arguments: dict[str, str] | None = None) -> object:
    qmp.write(json.dumps({"execute": name, "arguments": arguments or {}}))
    qmp.flush()
    while "return" not in (answer := json.loads(qmp.readline())):
        assert "event" in answer, answer
    return answer["return"]


def _run(*argv: str | Path) -> str:
    return command.run(command.Program([str(part) for part in argv], code="lab.machine"))
