#!/bin/sh
# Installs Culvert's agent in C: picks the build for this machine, verifies its checksum, and puts it in place.
#
#   sh install.sh --from https://HOST/PATH [--sums SHA256] [--to FOLDER]
#
# --from  the folder of a release: an https address, or a folder of this machine
# --sums  SHA-256 of the release's SHA256SUMS, learned by another way than the release itself
# --to    where the program goes (default: /usr/local/bin)
#
# Exit codes: 0 installed, 1 failed (nothing was changed), 2 usage.
set -eu

from='' sums='' to=/usr/local/bin
usage() {
  echo "$1" >&2
  echo 'usage: install.sh --from https://HOST/PATH [--sums SHA256] [--to FOLDER]' >&2
  exit 2
}
fail() {
  echo "$1" >&2
  exit 1
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage "$1 needs a value, or is no option"
  case $1 in
    --from) from=${2%/} ;;
    --sums) sums=$2 ;;
    --to) to=$2 ;;
    *) usage "$1 is no option" ;;
  esac
  shift 2
done
case $from in
  https://*) ;;
  /*) [ -d "$from" ] || usage "--from $from is no folder" ;;
  '') usage '--from is missing' ;;
  *) usage "--from $from: expected an address that starts with https://, or the absolute path of a folder" ;;
esac

# CULVERT_MACHINE names the machine where uname does not tell, as in an image that is built for another one.
machine=${CULVERT_MACHINE:-$(uname -m)}
[ "$(uname -s)" = Linux ] || fail "there is no build for $(uname -s); expected Linux"
little_endian() {
  [ "$(dd if=/proc/self/exe bs=1 skip=5 count=1 2>/dev/null | od -An -tu1 | tr -d ' ')" = 1 ]
}
case $machine in
  x86_64 | amd64) target=x86_64 ;;
  i386 | i486 | i586 | i686) target=i686 ;;
  aarch64 | arm64) target=aarch64 ;;
  armv7* | armv8l) target=armhf ;;
  arm*) target=armel ;;
  # The kernel calls both orders of bytes mips; the sixth byte of any program says which: 1 is little.
  mips) if little_endian; then target=mipsel; else target=mips; fi ;;
  mipsel) target=mipsel ;;
  mips64) if little_endian; then target=mips64el; else target=mips; fi ;;
  mips64el) target=mips64el ;;
  riscv64) target=riscv64 ;;
  *) fail "there is no build for $machine" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fetch() {
  case $from in
    /*) cp "$from/$1" "$work/$1" ;;
    *)
      if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --proto '=https' --proto-redir '=https' --max-time 600 -o "$work/$1" "$from/$1"
      elif command -v wget >/dev/null; then
        wget -q -T 60 -O "$work/$1" "$from/$1"
      else
        fail 'neither curl nor wget is here'
      fi
      ;;
  esac || fail "$from/$1 could not be fetched"
}
sha256() {
  if command -v sha256sum >/dev/null; then sha256sum "$1" | cut -d' ' -f1
  elif command -v openssl >/dev/null; then openssl dgst -sha256 -r "$1" | cut -d' ' -f1
  else fail 'neither sha256sum nor openssl is here: the checksum cannot be verified'; fi
}

fetch SHA256SUMS
if [ -n "$sums" ] && [ "$(sha256 "$work/SHA256SUMS")" != "$sums" ]; then
  fail "SHA256SUMS is not the one of --sums: $(sha256 "$work/SHA256SUMS")"
fi
program=culvert-agent-$target
wanted=$(sed -n "s/^\([0-9a-f]\{64\}\)  $program\$/\1/p" "$work/SHA256SUMS")
[ -n "$wanted" ] || fail "the release has no $program"
fetch "$program"
found=$(sha256 "$work/$program")
[ "$found" = "$wanted" ] || fail "$program has the checksum $found; expected $wanted"
chmod 755 "$work/$program"
[ -n "${CULVERT_MACHINE:-}" ] || version=$("$work/$program" --version) || fail "$program does not run on this machine"

# In one step: a running agent keeps its program, and nobody ever sees half of one.
mkdir -p "$to"
cp "$work/$program" "$to/.culvert-agent.new"
mv -f "$to/.culvert-agent.new" "$to/culvert-agent"
echo "installed $to/culvert-agent ($target${version:+, $version})"
