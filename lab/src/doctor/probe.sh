# Tries what the lab builds its fabric from, in a network and mount namespace that end with this script.
# Each line: a name, "ok" or "no", and what was said.
try() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "$name ok"
    else
        echo "$name no $(printf '%s' "$said" | tail -n 1)"
    fi
}

overlay() {
    mount -t tmpfs none /tmp && cd /tmp && mkdir lower upper work merged &&
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
}

echo 'namespaces ok'
try veth ip link add probe0 type veth peer name probe1
try bridge ip link add probe2 type bridge
try tap ip tuntap add dev probe3 mode tap
try nat iptables --wait 5 --table nat --append POSTROUTING --jump MASQUERADE
try nat-legacy iptables-legacy --wait 5 --table nat --append POSTROUTING --jump MASQUERADE
try overlayfs overlay
