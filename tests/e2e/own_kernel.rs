//! The machine's own kernel as the director: told inside a guest, whose kernel has IPVS, as if the guest were the machine.

use lab::world::context::Lab;
use lab::world::kernel::scratch::Scratch;

use crate::story;

/// What a machine has and a guest has not by itself: cgroups, pseudo-terminals, and folders that can be written.
const MACHINE: &str = r"
    mkdir -p /dev/pts /dev/shm /run/tmp
    mount -t devpts devpts /dev/pts
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    for kind in cpu cpuacct blkio memory devices freezer net_cls pids; do
        mkdir /sys/fs/cgroup/$kind && mount -t cgroup -o $kind cgroup /sys/fs/cgroup/$kind
    done
    ip link set lo up
";

#[test]
fn a_machine_whose_kernel_has_ipvs_needs_no_guest() {
    let outside = Lab::open("ownkernel", None).unwrap();
    let guest = Scratch::boot(&outside.paths, &outside.person, 3072).unwrap();
    let ran = guest.run(&["sh", "-ec", MACHINE]).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lab = |words: &str| {
        let line = format!(
            "export TMPDIR=/run/tmp NOMAD_IPVS_STATE=/run/state NOMAD_IPVS_CACHE={}; cd /; exec {} --profile inner {words}",
            outside.paths.cache.display(),
            story::program().display(),
        );
        let output = guest.run(&["sh", "-c", &line]).unwrap();
        (output.code, output.stdout + &output.stderr)
    };
    let (code, text) = lab("up --kernel host --no-build --no-install");
    assert!(code == 0 && text.contains("director (host)"), "{text}");
    let (code, text) = lab("status");
    assert!(code == 0 && text.contains("agree"), "{text}");
    let vip = Lab::open("inner", None).unwrap().topology.vip();
    let curl = format!("exec client -- curl --fail --silent http://{vip}/");
    let (code, text) = lab(&curl);
    assert!(code == 0 && text.contains("Hello, Nomad!"), "{text}");
    let (code, text) = lab("down");
    assert!(code == 0 && text.contains("nothing left"), "{text}");
    let left = guest.run(&["sh", "-c", "ip netns; ls /run/state"]).unwrap();
    assert_eq!(left.stdout.trim(), "", "the inner lab left something");
    drop(guest);
    let _ = std::fs::remove_dir(&outside.paths.state);
    let _ = std::fs::remove_dir(&outside.paths.run);
}
