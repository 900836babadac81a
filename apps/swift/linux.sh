#!/bin/sh
# Swift on Linux, in a folder: Debian trixie with its Swift 6, about 2.5 GB.
#
#   sh apps/swift/linux.sh make FOLDER          fetch Debian and Swift into a new FOLDER
#   sh apps/swift/linux.sh test FOLDER          build this package there and run its tests
#   sh apps/swift/linux.sh run FOLDER COMMAND   run COMMAND there, in a copy of this package
#
# Needs root (chroot, mount) and Debian's debootstrap: apt-get install debootstrap
set -eu

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
}

[ $# -ge 2 ] || usage
verb=$1 folder=$2
shift 2
package=$(cd "$(dirname "$0")" && pwd)

inside() { # the package is copied: a chroot sees nothing outside the folder
    mkdir -p "$folder/package"
    (cd "$package" && tar -c --exclude ./.build .) | tar -x -C "$folder/package"
    # Swift finds its own libraries through /proc, which is mounted for this command alone
    unshare --mount sh -c '
        folder=$1
        shift
        mount -t proc proc "$folder/proc"
        exec chroot "$folder" /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 \
            sh -c "cd /package && exec \"\$@\"" sh "$@"
    ' sh "$folder" "$@"
}

case $verb in
make)
    command -v debootstrap >/dev/null || { echo "debootstrap is missing; install it: apt-get install debootstrap" >&2; exit 2; }
    [ ! -e "$folder" ] || { echo "$folder exists already; delete it or choose another" >&2; exit 2; }
    debootstrap --variant=minbase --include=swiftlang,libc6-dev,libstdc++-14-dev,ca-certificates trixie "$folder.partial" "${MIRROR:-http://deb.debian.org/debian}"
    rm -rf "$folder.partial/var/cache/apt/archives"
    mv "$folder.partial" "$folder"
    ;;
test) inside swift test "$@" ;;
run) inside "$@" ;;
*) usage ;;
esac
