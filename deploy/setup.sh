#!/usr/bin/env bash
# Installs what is missing, and nothing else: etcd, protoc, promtool, and nft, ip and unshare for the tests with real packets, from
# Debian; cargo-deny from source.
# Usage: deploy/setup.sh [version of cargo-deny]; without a version, only what building, testing and the demo need.
set -euo pipefail

deny_version=${1:-}

have() { command -v "$1" >/dev/null 2>&1 || [[ -x /usr/sbin/$1 ]]; }

missing=()
have etcd || missing+=(etcd-server)
have etcdctl || missing+=(etcd-client)
have protoc || missing+=(protobuf-compiler)
[[ -f /usr/include/google/protobuf/descriptor.proto || -f /usr/local/include/google/protobuf/descriptor.proto ]] ||
    missing+=(libprotobuf-dev)
have promtool || missing+=(prometheus)
have nft || missing+=(nftables)
{ have ip && have bridge; } || missing+=(iproute2)
{ have unshare && have nsenter; } || missing+=(util-linux)
have mount || missing+=(mount)
have cc || missing+=(build-essential)

if ! have cargo; then
    echo "cargo is missing: install Rust 1.90 or newer (https://rustup.rs), then run this again" >&2
    exit 1
fi

if ((${#missing[@]})); then
    if ! have apt-get; then
        echo "This is no Debian. Please install by hand what these Debian packages have, then run this again:" >&2
        printf '  %s\n' "${missing[@]}" >&2
        exit 1
    fi
    sudo=()
    if [[ $(id -u) != 0 ]]; then
        have sudo || { echo "run this as root, or install sudo: ${missing[*]} are missing" >&2; exit 1; }
        sudo=(sudo)
    fi
    echo "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # No service is started: tests and demo start their own, on ports of their own.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod +x "$policy"
        trap '"${sudo[@]}" rm -f "$policy"' EXIT
    fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

[[ -n $deny_version ]] || exit 0
installed=$(cargo deny --version 2>/dev/null | awk '{ print $2 }' || true)
if [[ $installed != "$deny_version" ]]; then
    echo "building cargo-deny $deny_version (some minutes, once)"
    cargo install --quiet --locked cargo-deny --version "$deny_version"
fi
echo "everything is there"
