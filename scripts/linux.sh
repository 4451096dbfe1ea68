# Kernel sources: what both fetch-linux and the DKMS package do with them (sourced after lib.sh).
# SPDX-License-Identifier: GPL-2.0-or-later

# tree_version FOLDER: X.Y.Z of a kernel's Makefile, nothing if it has none
tree_version() {
    sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) = //p' "$1/Makefile" 2>/dev/null | paste -sd .
}

# kernel_version NAME: X.Y.Z of a kernel's name as in `uname -r`
kernel_version() { printf '%s\n' "$1" | sed 's/^\([0-9]*\.[0-9]*\.[0-9]*\).*/\1/'; }

# compiler_of HEADERS: `compiler`, arguments of make for the one that the kernel was compiled with. Modules need it: its
# options are in the configuration.
compiler_of() {
    local cc short
    compiler=()
    cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' "$1/.config")
    [ -n "$cc" ] && ! command -v "$cc" > /dev/null || return 0
    short=${cc##*-linux-gnu-}
    command -v "$short" > /dev/null || die "the kernel was compiled by $cc, which is missing (package $short)"
    compiler=("CC=$short" CROSS_COMPILE=)
}

# unpack_source TAR FOLDER MEMBER...: the members, and what KVM is built from
unpack_source() {
    local tar=$1 dir=$2 out
    shift 2
    set -- Makefile arch/x86/kvm virt "$@"
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    say "unpacking KVM's source from $(basename "$tar")"
    # A later or an earlier kernel may have less of it: what is needed is missed by name.
    out=$(tar -C "$dir.new" --strip-components=1 --wildcards --no-wildcards-match-slash -xf "$tar" "${@/#/*/}" 2>&1) || true
    [ -f "$dir.new/arch/x86/kvm/Makefile" ] && [ -f "$dir.new/virt/kvm/Makefile.kvm" ] ||
        die "$tar cannot be unpacked: $(tail -n 1 <<< "$out" | grep . || echo 'it holds no KVM for x86')"
    rm -rf "$dir"
    mv "$dir.new" "$dir"
}
