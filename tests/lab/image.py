"""The disk of the lab's machine: Debian with LXD, Incus, and ZFS's modules for Debian's kernel."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from three_backup import command
from three_backup.errors import BackupError

SUITE = "trixie"
_GUEST = Path(__file__).with_name("guest")
_DISK_BYTES = 2 << 30  # sparse
_KERNEL = "linux-image-cloud-amd64"
_BUILDS_MODULES = (_KERNEL, "linux-headers-cloud-amd64", "zfs-dkms", "kmod", "xz-utils")
_RUNS = (
    *(_KERNEL, "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools", "busybox-static"),
    *("openssh-server", "iproute2", "netbase", "procps", "e2fsprogs", "zfsutils-linux"),
    *("lxd", "lxd-client", "uidmap", "squashfs-tools", "xz-utils", "attr", "acl", "apparmor"),
    *("incus-base", "incus-client", "qemu-system-x86", "ovmf"),
    *("nftables", "dnsmasq-base"),  # bridges
)
# If it is killed, its processes end and its mounts go, so that the folder can be removed.
_ALONE = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--"),
)
_EXCLUDED = (
    *("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/i18n/*"),
    *("/usr/bin/qemu-system-i386", "/usr/bin/qemu-system-x86_64-microvm"),
    *("/usr/share/qemu/skiboot*", "/usr/share/qemu/slof*", "/usr/share/qemu/openbios*"),
    *("/usr/share/qemu/u-boot*", "/usr/share/qemu/trace-events*", "/usr/share/ovmf/*"),
)
_UNWANTED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "getty@tty1.service", "lxd-agent.service"),
    *("zfs-zed.service", "zfs-share.service", "zfs-volume-wait.service"),
    "systemd-networkd-wait-online.service",
)


def mirror() -> str | None:
    """Return the Debian mirror that apt uses on this host; None if there is none."""
    argv = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    return next(iter(_run(*argv, "Label: Debian").split()), None)


def build(folder: Path) -> None:
    """Fill the folder with vmlinuz, initrd.img, root.qcow2 and the ssh key of the machine."""
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", folder / "key")
    with _trees(folder) as (modules, root):
        with command.stream(_debootstrap(modules, _BUILDS_MODULES)) as building:
            command.run(_debootstrap(root, _RUNS))
            building.read()
        kernel = _install_modules(modules, root)
        _configure(root, folder / "key.pub", kernel)
        for name in ("vmlinuz", "initrd.img"):
            (root / "boot" / f"{name}-{kernel}").rename(folder / name)
        _make_disk(root, folder / "root.qcow2")


@contextmanager
def _trees(folder: Path) -> Iterator[tuple[Path, Path]]:
    trees = (folder / "modules", folder / "root")
    yield trees
    for tree in trees:
        shutil.rmtree(tree)


def _debootstrap(tree: Path, packages: tuple[str, ...]) -> command.Program:
    return _program(
        *(
            *_ALONE,
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(packages)}",
        ),
        "--aptopt=APT::Install-Recommends false",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
        *(SUITE, tree, f"deb {mirror()} {SUITE} main contrib"),
    )


def _install_modules(modules: Path, root: Path) -> str:
    """Copy ZFS's modules into the root; return the version of the kernel they are built for."""
    (kernel,) = (path.name for path in (root / "lib/modules").iterdir())
    folder = Path("lib/modules", kernel, "updates/dkms")
    if not list((modules / folder).glob("zfs.ko*")):
        raise BackupError("lab.modules", f"dkms built no ZFS for the kernel {kernel}")
    shutil.copytree(modules / folder, root / folder)
    return kernel


def _configure(root: Path, public_key: Path, kernel: str) -> None:
    shutil.copytree(_GUEST, root, dirs_exist_ok=True)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(public_key, root / "root/.ssh/authorized_keys")
    (root / "etc/machine-id").write_text("uninitialized\n")
    conf = root / "etc/initramfs-tools/initramfs.conf"
    conf.write_text(conf.read_text().replace("MODULES=most", "MODULES=list"))
    for path in (root / "usr/share/initramfs-tools").glob("*/zfs"):
        path.unlink()  # the root is not on ZFS
    for line in (
        f"depmod {kernel}",
        f"update-initramfs -u -k {kernel}",
        "passwd -d root",
        "systemctl enable systemd-networkd ssh",
        f"systemctl mask {' '.join(_UNWANTED)}",
    ):
        _run("chroot", root, *line.split())


def _make_disk(root: Path, disk: Path) -> None:
    raw = disk.with_suffix(".raw")
    raw.touch()
    with raw.open("r+b") as file:
        file.truncate(_DISK_BYTES)
    _run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", root, raw)
    _run("qemu-img", "convert", "-O", "qcow2", raw, disk)
    raw.unlink()


def _run(*argv: str | Path) -> str:
    return command.run(_program(*argv))


def _program(*argv: str | Path) -> command.Program:
    return command.Program([str(part) for part in argv], code="lab.build")
