# Installs Debian packages so that nothing they bring is started.
#   $1  the policy that maintainer scripts ask before they start a service
#   $2  a lock: two labs must not move the policy at the same time
#   the rest  packages
# A process of its own, so that the policy is put back even when the lab itself is killed meanwhile.
policy=$1 lock=$2
shift 2
aside=$policy.before-nomad-ipvs
mark='# nomad-ipvs: nothing is started while packages are installed'
stopped=

exec 9>"$lock" || exit 1
flock 9 || exit 1

# As it was: the same file where there was one, none where there was none.
put_back() {
    if [ -e "$aside" ] || [ -L "$aside" ]; then
        mv -f "$aside" "$policy"
    elif grep -qsF "$mark" "$policy"; then
        rm -f "$policy"
    fi
}

# What a run that lost its power half-way left.
put_back
trap put_back EXIT
# apt ends by itself on these signals; this shell stays to tidy up.
trap 'stopped=yes' HUP INT TERM

if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$aside" || exit 1
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy" && chmod 755 "$policy" || exit 1

install() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install --yes --no-remove --no-install-recommends \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -- "$@" 9>&-
}

install "$@" && exit 0
[ -z "$stopped" ] || exit 130
# Old lists name files that are gone, an empty machine has no lists at all.
echo 'refreshing the lists of packages'
apt-get update 9>&- && [ -z "$stopped" ] && install "$@"
