#!/bin/sh
# Runs once in the machine: what the tests find there, in LXD and in Incus alike. A pool of each
# kind, projects that keep volumes of their own (shop) and those of the default project (plain), an
# image of busybox.
set -eu

for disk in tank second; do
    zpool create -o ashift=12 -O compression=lz4 -O atime=off -O mountpoint=none \
        "$disk" "/dev/disk/by-id/virtio-$disk"
done
head -c 32 /dev/urandom >/root/secret.key
for daemon in lxd incus; do
    zfs create -o mountpoint=none "tank/$daemon"
    zfs create -o mountpoint=none "second/$daemon"
done
for secret in tank/secret tank/secret-incus; do
    zfs create -o mountpoint=none -o encryption=on -o keyformat=raw \
        -o keylocation=file:///root/secret.key "$secret"
done

useradd --create-home --groups lxd,incus-admin member
useradd --create-home outsider

root=$(mktemp -d)/rootfs
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/dev" "$root/proc" "$root/sys" "$root/root" \
    "$root/run" "$root/srv" "$root/var/log"
mkdir -m 1777 "$root/tmp"
cp /bin/busybox "$root/bin/busybox"
for program in $(/bin/busybox --list); do
    [ "$program" = busybox ] || ln -s busybox "$root/bin/$program"
done
ln -s ../bin/busybox "$root/sbin/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
printf '::respawn:/bin/sleep 100000\n::ctrlaltdel:/bin/poweroff\n' >"$root/etc/inittab"
cat >"${root%/rootfs}/metadata.yaml" <<'METADATA'
architecture: x86_64
creation_date: 1700000000
properties: {description: busybox, os: busybox, release: "1"}
METADATA
tar -C "${root%/rootfs}" --numeric-owner --owner=0 --group=0 -cf /root/tiny.tar metadata.yaml rootfs

# provision CLIENT ADMIN DAEMON SECRET: ADMIN is the program that sets the daemon up.
provision() {
    client=$1 admin=$2 daemon=$3 secret=$4
    $admin waitready --timeout 300
    $admin init --preseed <<PRESEED
storage_pools:
- {name: default, driver: zfs, config: {source: tank/$daemon}}
- {name: second, driver: zfs, config: {source: second/$daemon}}
- {name: secret, driver: zfs, config: {source: $secret}}
- {name: folder, driver: dir}
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
projects:
- name: shop
  config: {features.images: "false", features.profiles: "true", features.storage.volumes: "true"}
- name: plain
  config: {features.images: "false", features.profiles: "false", features.storage.volumes: "false"}
PRESEED
    $client profile device add default root disk path=/ pool=default --project shop </dev/null
    $client image import /root/tiny.tar --alias tiny </dev/null
    # What a pool first needs of an image is unpacked here, not in the first test that asks.
    for pool in default second secret; do
        $client init tiny unpack --storage "$pool" </dev/null
        $client delete unpack
    done
    # Fails here where the daemon cannot make virtual machines.
    $client init --empty --vm machine --device root,size=64MiB </dev/null
    $client delete machine
}

provision lxc lxd lxd tank/secret
provision incus 'incus admin' incus tank/secret-incus
rm -r "${root%/rootfs}" /root/tiny.tar
