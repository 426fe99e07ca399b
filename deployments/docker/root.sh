#!/bin/sh
# Lays out all that a program needs to run, and nothing else: itself, the libraries it is linked with, the authorities that
# TLS may trust, and a user. No shell, no package manager, nothing to be kept up to date but this build's base.
#   root.sh PROGRAM DESTINATION
set -eu
program=$1 root=$2
install -d -m 755 "$root/usr/local/bin" "$root/etc/ssl/certs"
install -d -m 1777 "$root/tmp"
objcopy --strip-debug "$program" "$root/usr/local/bin/${program##*/}"
chmod 755 "$root/usr/local/bin/${program##*/}"
# The C library looks names up by itself: it loads nothing that is not listed.
ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    install -D -m 755 "$library" "$root$library"
done
install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'root:x:0:0::/:/sbin/nologin\nnexus:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnexus:x:65532:\n' >"$root/etc/group"
