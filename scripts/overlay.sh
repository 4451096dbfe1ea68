# An overlay on somebody else's source: our patches, and links to our files (sourced after lib.sh).
# A file of the tree is only written when its content changes, so that what is built from it is built again only if it must.
# SPDX-License-Identifier: GPL-2.0-or-later

# Without a process if the folder is there: there are hundreds of files.
folder_of() {
    [ -d "${1%/*}" ] || mkdir -p "${1%/*}"
}

# patch_tree STATE SRC PATCHES WHAT: brings the tree SRC to its originals plus the series of the folder PATCHES.
# The originals of all files that any patch has touched are kept in STATE/orig; each change of the series computes
# the patched files from them and puts only those that differ into the tree. WHAT names the source in an error.
patch_tree() {
    local state=$1 src=$2 patches=$3 what=$4 stamp files work f p out
    stamp=$(cat "$patches"/*.patch | sha256sum | cut -d ' ' -f 1)
    if [ "$(cat "$state/patch-stamp" 2>/dev/null)" != "$stamp" ]; then
        rm -f "$state/patch-stamp"
        touch "$state/patched-files"
        files=$( { sed -n 's,^+++ b/,,p' "$patches"/*.patch; cat "$state/patched-files"; } | sort -u)
        work=$state/patch.new
        rm -rf "$work"
        for f in $files; do
            if [ ! -f "$state/orig/$f" ]; then
                [ -f "$src/$f" ] || die "a patch wants to change $f, which $what does not have"
                folder_of "$state/orig/$f"
                cp -p "$src/$f" "$state/orig/$f.new" && mv "$state/orig/$f.new" "$state/orig/$f"
            fi
            folder_of "$work/$f"
            cp "$state/orig/$f" "$work/$f"
        done
        for p in "$patches"/*.patch; do
            if ! out=$(patch -d "$work" -p1 --fuzz=0 --no-backup-if-mismatch -r - < "$p" 2>&1); then
                printf '%s\n' "$out" >&2
                die "patch $(basename "$p") does not apply to $what; it has to be rebased (see upstream/README.md)"
            fi
        done
        printf '%s\n' $files > "$state/patched-files"
        for f in $files; do
            cmp -s "$work/$f" "$src/$f" || { cp "$work/$f" "$src/$f.new" && mv "$src/$f.new" "$src/$f"; }
        done
        rm -rf "$work"
        printf '%s\n' "$stamp" > "$state/patch-stamp"
    fi
    say "$(ls "$patches"/*.patch | wc -l) patches, $(cat "$patches"/*.patch | grep '^+' | grep -vc '^+++ ') inserted lines"
}

# link_tree STATE SRC WHAT < LIST: makes the links of LIST in the tree, removes those that it made before and that are
# no longer in it. A line of LIST: place in the tree, file or folder of ours.
link_tree() {
    local state=$1 src=$2 what=$3 dst own
    cat > "$state/links.new"
    # A process for each link would take seconds, every time.
    if [ -f "$state/links" ]; then
        { grep -vxF -f "$state/links.new" "$state/links" || true; } | while read -r dst own; do
            rm -f "$src/$dst"
        done
    fi
    while read -r dst own; do
        if ! [ -L "$src/$dst" ] || ! [ "$src/$dst" -ef "$TOP/$own" ]; then
            [ ! -e "$src/$dst" ] || [ -L "$src/$dst" ] || die "$what already has a file $dst"
            folder_of "$src/$dst"
            ln -sfn "$TOP/$own" "$src/$dst"
        fi
    done < "$state/links.new"
    mv "$state/links.new" "$state/links"
}
