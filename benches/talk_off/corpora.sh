#!/usr/bin/env bash
# Fetches speech from Debian's packages and turns it into raw 16-bit samples at 8 kHz.
#
#   benches/talk_off/corpora.sh FOLDER PACKAGE...
#
# Downloads each package with apt-get (nothing is installed), unpacks it below FOLDER, decodes all of its
# recordings with SoX, 200 ms of silence after each, and leaves
#   FOLDER/PACKAGE.raw    samples, little-endian
#   FOLDER/PACKAGE.index  a line a recording: its first sample, a tab, its name
# A package that is there already is not made again; one that was interrupted is made anew.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: corpora.sh FOLDER PACKAGE..." >&2
    exit 2
fi
mkdir -p "$1"
cd "$1"
shift
for tool in sox apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || {
        echo "corpora.sh: $tool is not there; install it (apt-get install sox libsox-fmt-base)" >&2
        exit 1
    }
done

decode() { # PACKAGE
    local package=$1 recordings done=0 skipped=0
    # Opus is left out: SoX of Debian 12 cannot read it.
    mapfile -t recordings < <(cd "unpacked/$package" &&
        find . -type f \( -name '*.wav' -o -name '*.ogg' -o -name '*.gsm' -o -name '*.sln' \) -printf '%P\n' | LC_ALL=C sort)
    : >"$package.raw.part"
    : >"$package.index.part"
    for recording in "${recordings[@]}"; do
        local format=()
        case $recording in
        # Neither has a header.
        *.sln) format=(-t raw -r 8000 -c 1 -e signed -b 16) ;;
        *.gsm) format=(-t gsm -r 8000 -c 1) ;;
        esac
        printf '%s\t%s\n' "$(($(stat -c %s "$package.raw.part") / 2))" "$recording" >>"$package.index.part"
        # A little headroom, so that what the change of rate adds does not clip.
        if ! sox -V1 -R -v 0.95 "${format[@]}" "unpacked/$package/$recording" \
            -t raw -r 8000 -c 1 -e signed -b 16 -L - pad 0 0.2 >>"$package.raw.part" 2>>sox.log; then
            skipped=$((skipped + 1))
        fi
        done=$((done + 1))
        if [ $((done % 200)) -eq 0 ]; then
            echo "  $package: $done of ${#recordings[@]}"
        fi
    done
    mv "$package.index.part" "$package.index"
    mv "$package.raw.part" "$package.raw"
    echo "  $package: ${#recordings[@]} recordings, $skipped unreadable, $(($(stat -c %s "$package.raw") / 960000)) min"
}

failed=0
for package in "$@"; do
    [ -e "$package.raw" ] && [ -e "$package.index" ] && continue
    if [ ! -e "unpacked/$package/.complete" ]; then
        mkdir -p "deb/$package" unpacked
        rm -rf "unpacked/$package"
        echo "  $package: download"
        if ! (cd "deb/$package" && apt-get download "$package") >apt.log 2>&1; then
            echo "corpora.sh: cannot download $package; what apt-get says:" >&2
            tail -n 3 apt.log >&2
            failed=1
            continue
        fi
        dpkg-deb -x "deb/$package"/*.deb "unpacked/$package"
        touch "unpacked/$package/.complete"
        rm -rf "deb/$package"
    fi
    decode "$package"
done
exit $failed
